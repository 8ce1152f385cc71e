-- Takes key K ('foldlog' in ASCII) for the session: "a listener sleeps".
-- role: foldlog_projection
select pg_advisory_lock(28832958956466023)
