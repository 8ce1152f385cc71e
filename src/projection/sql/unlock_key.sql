-- Unlocks key K: no listener sleeps.
-- role: foldlog_projection
select pg_advisory_unlock(28832958956466023)
