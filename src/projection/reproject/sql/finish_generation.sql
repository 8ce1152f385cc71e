-- Creates the indexes of a generation that were not needed while it was filled, and marks it as filled.
-- $1 text lock domain
-- role: foldlog_projection
select foldlog.finish_generation($1)
