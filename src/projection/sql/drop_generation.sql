-- Drops the table of a generation that no code needs; false if there is nothing to drop.
-- $1 text lock domain
-- returns bool
-- role: foldlog_projection
select foldlog.drop_generation($1)
