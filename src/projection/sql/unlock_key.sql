-- Unlocks key K: no listener sleeps.
-- role: foldlog_projection
select pg_advisory_unlock(foldlog.doorbell_key())
