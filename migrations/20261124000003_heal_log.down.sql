drop function heal_log();
drop function log_is_behind();
drop function log_newest_txid();
