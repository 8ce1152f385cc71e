-- Reads the view row of each aggregate and the events above it, all from one snapshot. The limit and the inner order force a
-- plan that looks each aggregate up: without them Postgres may read all rows of the view and all events, and join them by a hash.
-- $1 uuid[] aggregate ids
-- returns rows (wanted_id, viewed, viewed_version, id, aggregate_id, version, position, type_id, created_at, payload, metadata)
-- role: foldlog_command
-- uses: events_aggregate_id_version_key {table}_pkey
select
    wanted.id as wanted_id,
    viewed.json as viewed,
    viewed.version as viewed_version,
    tail.id,
    tail.aggregate_id,
    tail.version,
    tail.position,
    tail.type_id,
    tail.created_at,
    tail.payload,
    tail.metadata
from unnest($1::uuid[]) as wanted (id)
left join lateral (
    select to_json(v) as json, v.version
    from foldlog."{table}" v
    where v.id = wanted.id
    limit 1
) viewed on true
left join lateral (
    select e.id, e.aggregate_id, e.version, e.position, e.type_id, e.created_at, e.payload, e.metadata
    from foldlog.events e
    where e.aggregate_id = wanted.id
        and e.version > coalesce(viewed.version, 0)
    order by e.version
) tail on true
order by wanted.id, tail.version
