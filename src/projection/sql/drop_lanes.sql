-- Forgets what is settled for a generation, and the snapshot with which it is filled.
-- $1 text lock domain
-- role: foldlog_projection
-- uses: settled_pkey
delete from foldlog.settled
where lock_domain in ($1, $1 || ' fill')
