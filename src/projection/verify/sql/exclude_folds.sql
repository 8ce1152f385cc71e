-- Waits for the inline folds and retries in progress, and lets others wait until this transaction ends.
-- $1 text the projection
-- role: foldlog_projection
select pg_advisory_xact_lock(foldlog.generation_key($1))
