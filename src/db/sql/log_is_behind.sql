-- Whether the log was restored from a cluster whose transaction counter was ahead of this cluster's counter.
-- returns bool
-- role: foldlog_command
-- uses: events_txid_position_idx
select foldlog.log_is_behind()
