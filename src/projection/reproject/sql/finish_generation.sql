-- Marks a generation as filled.
-- $1 text lock domain
-- role: foldlog_projection
select foldlog.finish_generation($1)
