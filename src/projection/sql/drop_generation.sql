-- Drops the table of a generation whose claims are gone, and forgets the generation.
-- $1 text lock domain
-- role: foldlog_projection
select foldlog.drop_generation($1)
