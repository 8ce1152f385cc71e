-- The events with these ids, whatever their aggregate.
-- $1 uuid[] event ids
-- returns rows (id, aggregate_id, version, position, type_id, created_at, payload, metadata)
-- role: foldlog_command
-- uses: events_pkey
select e.id, e.aggregate_id, e.version, e.position, e.type_id, e.created_at, e.payload, e.metadata
from unnest($1::uuid[]) as wanted (id)
cross join lateral (
    select e.id, e.aggregate_id, e.version, e.position, e.type_id, e.created_at, e.payload, e.metadata
    from foldlog.events e
    where e.id = wanted.id
    limit 2
) e
