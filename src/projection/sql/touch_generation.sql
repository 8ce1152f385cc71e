-- Says that a worker of this build projects a retired generation.
-- $1 text lock domain
-- role: foldlog_projection
select foldlog.touch_generation($1)
