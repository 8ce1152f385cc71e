-- Whether the version before the lowest one that is to be folded is claimed: a value beside `wanted` (id, lowest).
-- $3 text lock domain
-- returns bool
-- role: foldlog_projection
-- uses: events_aggregate_id_version_key locker_pkey users_pkey
-- part of: Statements::with_predecessors
select exists (
    select
    from foldlog.events e
    join foldlog.locker l on l.event_id = e.id and l.aggregate_id = e.aggregate_id and l.lock_domain = $3
    where e.aggregate_id = wanted.id
        and e.version = wanted.lowest - 1
)
