-- Lets the removal of a generation wait, because its table cannot be dropped.
-- $1 text lock domain
-- role: foldlog_projection
select foldlog.postpone_removal($1)
