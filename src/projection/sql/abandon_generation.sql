-- Lets no worker begin anything with a generation that is being filled, or that no code needs; returns whether that is so.
-- $1 text lock domain
-- returns bool
-- role: foldlog_projection
select foldlog.abandon_generation($1)
