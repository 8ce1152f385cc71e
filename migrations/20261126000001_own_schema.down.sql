alter function log_txid() reset search_path;
alter function log_snapshot() reset search_path;
alter function log_newest_txid() reset search_path;
alter function log_is_behind() reset search_path;
