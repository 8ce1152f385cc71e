-- Forgets what is settled. Workers read the log from the beginning and drop the events that are applied.
-- $1 text lock domain
-- role: foldlog_projection
-- uses: settled_pkey
delete from foldlog.settled
where lock_domain = $1
