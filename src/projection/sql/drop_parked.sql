-- Forgets the parked aggregates of a generation whose lanes are gone.
-- $1 text lock domain
-- role: foldlog_projection
delete from foldlog.parked
where lock_domain = $1
