-- Locks key K ('foldlog' in ASCII, or another number in a schema other than `public`) for the session if it is free: a
-- listener sleeps. It does not wait for the lock, because an append would see a waiting session like a sleeping listener and
-- send a NOTIFY.
-- returns bool
-- role: foldlog_projection
select pg_try_advisory_lock(foldlog.doorbell_key())
