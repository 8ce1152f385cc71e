drop table events;
drop function refuse_rewrite();
drop function log_snapshot();
drop function log_txid();
drop table log;
