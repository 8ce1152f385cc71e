-- Whether the log came from a cluster whose transaction counter was ahead of this one's.
-- returns bool
-- role: foldlog_command
-- uses: events_txid_position_idx
select foldlog.log_is_behind()
