-- Creates one of the indexes that a generation lacks: those that were not needed while it was filled, and those that were created in the
-- meantime.
-- $1 text lock domain
-- $2 bool one that rejects rows, such as that of a set rule, or one that does not
-- returns bool: false if there was none
-- role: foldlog_projection
select foldlog.complete_generation($1, $2)
