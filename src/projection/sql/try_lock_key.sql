-- Takes key K ('foldlog' in ASCII) for the session, if nobody holds it: "a listener sleeps". It does not queue for it:
-- an append that finds somebody queued would ring.
-- returns bool
-- role: foldlog_projection
select pg_try_advisory_lock(28832958956466023)
