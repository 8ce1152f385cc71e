-- Reads the view row of each aggregate and the events above it, all from one snapshot. An aggregate without a row whose newest
-- events are claimed has ended: the events up to the newest claimed one are folded into the absence of a row, and are not read.
-- Of an aggregate that belongs to another domain only the newest event is read.
-- If the generation does not serve the process, its rows and claims are left out, and all events are read.
-- The limits and the inner orders force a plan that looks each aggregate up: without them Postgres may read all rows of the view
-- and all events, and join them by a hash.
-- $1 uuid[] aggregate ids
-- $2 text lock domain
-- $3 smallint the first event type
-- $4 smallint the event type before which to end
-- returns rows (serves, repairs, wanted_id, viewed, viewed_version, claimed_version, id, aggregate_id, version, position, type_id, created_at, payload, metadata)
-- role: foldlog_command
-- uses: events_aggregate_id_version_key locker_pkey {table}_pkey
select
    generation.serves,
    (select g.repairs from foldlog.views g where g.name = $2) as repairs,
    wanted.id as wanted_id,
    viewed.json as viewed,
    viewed.version as viewed_version,
    claimed.version as claimed_version,
    tail.id,
    tail.aggregate_id,
    tail.version,
    tail.position,
    tail.type_id,
    tail.created_at,
    tail.payload,
    tail.metadata
from (select {serves} as serves) generation
cross join unnest($1::uuid[]) as wanted (id)
left join lateral (
    select to_json(v.*) as json, v.version
    from foldlog."{table}" v
    where v.id = wanted.id
        and generation.serves
    limit 1
) viewed on true
left join lateral (
    select e.version, e.type_id >= $3 and e.type_id < $4 as is_own
    from foldlog.events e
    where e.aggregate_id = wanted.id
        and viewed.version is null
    order by e.version desc
    limit 1
) newest on true
left join lateral (
    select unfolded.version
    from (
        select e.id, e.version
        from foldlog.events e
        where e.aggregate_id = wanted.id
            and newest.is_own
            and generation.serves
        order by e.version desc
        limit 1000
    ) unfolded
    cross join lateral (
        select true as is
        from foldlog.locker l
        where l.event_id = unfolded.id
            and l.aggregate_id = wanted.id
            and l.lock_domain = $2
        limit 1
    ) claim
    order by unfolded.version desc
    limit 1
) claimed on true
left join lateral (
    select e.id, e.aggregate_id, e.version, e.position, e.type_id, e.created_at, e.payload, e.metadata
    from foldlog.events e
    where e.aggregate_id = wanted.id
        and e.version > coalesce(
            viewed.version, claimed.version, case when not newest.is_own then newest.version - 1 end, 0
        )
    order by e.version
) tail on true
order by wanted.id, tail.version
