-- Raises the log's offset, under a lock, unless somebody else has done so meanwhile.
-- returns bigint the offset
-- role: foldlog_command
select foldlog.heal_log()
