-- Forgets a generation whose table and claims are gone.
-- $1 text lock domain
-- role: foldlog_projection
select foldlog.forget_generation($1)
