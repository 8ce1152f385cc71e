-- Reads all unclaimed events of aggregates up to a version each, with their view rows, in one snapshot: for aggregates whose
-- events a batch found without their predecessors, and for inline folds, which pass over parked aggregates.
-- $1 text lock domain
-- $2 uuid[] aggregate ids
-- $3 integer[] the highest version to read of each
-- $4 smallint the first event type
-- $5 smallint the event type before which to end
-- $6 bigint at most this many events
-- $7 text the projection of an inline fold, which must not go live with another generation before this transaction ends; or null
-- returns rows: each event, and one for each aggregate with (viewed, viewed_version, predecessor_claimed, repairs)
-- role: foldlog_projection
-- uses: events_aggregate_id_version_key locker_pkey parked_pkey skipped_pkey {table}_pkey
with locked as materialized (
    select pg_advisory_xact_lock_shared(foldlog.generation_key($7))
    where $7 is not null
),
wanted as materialized (
    select wanted.id, wanted.highest, viewed.json, viewed.version, unclaimed.version as first
    from unnest($2::uuid[], $3::integer[]) as wanted (id, highest)
    left join lateral (
        select true as is_parked
        from foldlog.parked p
        where p.lock_domain = $1
            and p.aggregate_id = wanted.id
            and $7 is not null
        limit 1
    ) parked on true
    left join lateral (
        select to_json(v.*) as json, v.version
        from foldlog."{table}" v
        where v.id = wanted.id
        limit 1
    ) viewed on true
    left join lateral (
        select e.version
        from foldlog.events e
        left join lateral (
            select true as is_claimed
            from foldlog.locker l
            where l.event_id = e.id
                and l.aggregate_id = e.aggregate_id
                and l.lock_domain = $1
            limit 1
        ) claimed on true
        where e.aggregate_id = wanted.id
            and viewed.version is null
            and e.version <= wanted.highest
            and e.type_id >= $4
            and e.type_id < $5
            and claimed.is_claimed is null
        order by e.version
        limit 1
    ) unclaimed on true
    where (select count(*) from locked) >= 0
        and parked.is_parked is null
),
event as materialized (
    select e.*
    from wanted
    cross join lateral (
        select e.id, e.aggregate_id, e.version, e.position, e.type_id, e.created_at, e.payload, e.metadata
        from foldlog.events e
        left join lateral (
            select true as is_claimed
            from foldlog.locker l
            where l.event_id = e.id
                and l.aggregate_id = e.aggregate_id
                and l.lock_domain = $1
            limit 1
        ) claimed on true
        where e.aggregate_id = wanted.id
            and e.version > coalesce(wanted.version, 0)
            and e.version <= wanted.highest
            and e.type_id >= $4
            and e.type_id < $5
            and claimed.is_claimed is null
        order by e.version
        limit $6
    ) e
    limit $6
)
select
    id, aggregate_id, version, position, type_id, created_at, payload, metadata, null::boolean as claimed,
    null::json as viewed, null::integer as viewed_version, null::boolean as predecessor_claimed, null::bigint as repairs,
    case
        when (select exists (select from foldlog.skipped s where s.projection = split_part($1, '#', 1) limit 1)) then (
            select exists (
                select
                from (
                    select
                    from foldlog.skipped s
                    where s.projection = split_part($1, '#', 1)
                        and s.aggregate_id = event.aggregate_id
                        and s.version = event.version
                    limit 1
                ) s
            )
        )
    end as skipped
from event
union all
select
    null, wanted.id, null, null, null, null, null, null, null, wanted.json, wanted.version,
    case
        when wanted.version is null then (
            select exists (
                select
                from (
                    select e.id, e.aggregate_id
                    from foldlog.events e
                    where e.aggregate_id = wanted.id
                        and e.version = wanted.first - 1
                    limit 1
                ) e
                cross join lateral (
                    select
                    from foldlog.locker l
                    where l.event_id = e.id
                        and l.aggregate_id = e.aggregate_id
                        and l.lock_domain = $1
                    limit 1
                ) l
            )
        )
    end,
    case when $7 is not null then (select g.repairs from foldlog.views g where g.name = $1) end,
    null
from wanted
