-- Excludes others from what this transaction does with the generations of a projection, or with one of them.
-- $1 text the projection, or the lock domain of the generation
-- role: foldlog_projection
select pg_advisory_xact_lock(foldlog.generation_key($1))
