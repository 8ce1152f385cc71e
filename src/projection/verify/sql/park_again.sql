-- Parks an aggregate at an event that cannot be folded, or lets it stay parked there.
-- $1 text lock domain
-- $2 uuid aggregate id
-- $3 uuid the event that could not be folded
-- $4 integer its version
-- $5 text why
-- $6 text what kind of failure
-- role: foldlog_projection
-- uses: parked_pkey
insert into foldlog.parked (lock_domain, aggregate_id, event_id, version, error, class, next_try)
values ($1, $2, $3, $4, $5, $6, statement_timestamp() + interval '5 seconds')
on conflict (lock_domain, aggregate_id) do update
set event_id = excluded.event_id,
    version = excluded.version,
    error = excluded.error,
    class = excluded.class,
    next_try = excluded.next_try
