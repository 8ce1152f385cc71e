-- Locks the lanes of a generation, and makes every batch that was read before write nothing.
-- $1 text lock domain
-- role: foldlog_projection
-- uses: settled_pkey
update foldlog.settled
set turn = turn + 1
where lock_domain = $1
