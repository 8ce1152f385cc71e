-- Freezes C, the snapshot whose events a generation is filled with. It is a row of `settled` under a name that no worker projects, so
-- that a log which is restored in another cluster is healed above it.
-- $1 text lock domain
-- role: foldlog_projection
insert into foldlog.settled (lock_domain, snapshot)
values ($1 || ' fill', foldlog.log_snapshot())
