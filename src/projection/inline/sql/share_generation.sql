-- Keeps a reprojection from going live until this transaction ends.
-- $1 text the projection
-- role: foldlog_projection
select pg_advisory_xact_lock_shared(foldlog.generation_key($1))
