-- Raises the log's offset under a lock, unless another session has done so in the meantime.
-- returns bigint the offset
-- role: foldlog_command
select foldlog.heal_log()
