-- Reads a page for a verification, all in one snapshot: first the view rows of its range, then its events, each with whether it is claimed.
-- Rows without events are in the range, too. It ends with the last event, or with $7 if there are fewer events than asked for.
-- $1 text lock domain
-- $2 uuid after the event of this aggregate
-- $3 integer with this version
-- $4 smallint the first event type
-- $5 smallint the event type before which to end
-- $6 bigint at most this many events
-- $7 uuid the last aggregate
-- returns rows (aggregate_id, viewed, viewed_version, id, version, position, type_id, created_at, payload, metadata, claimed, skipped)
-- role: foldlog_projection
-- uses: events_aggregate_id_version_key locker_pkey skipped_pkey {table}_pkey
with event as materialized (
    select e.id, e.aggregate_id, e.version, e.position, e.type_id, e.created_at, e.payload, e.metadata
    from foldlog.events e
    where (e.aggregate_id, e.version) > ($2, $3)
        and e.aggregate_id <= $7
        and e.type_id >= $4
        and e.type_id < $5
    order by e.aggregate_id, e.version
    limit $6
),
range as materialized (
    select
        case
            when count(*) < $6 then $7
            else (array_agg(aggregate_id order by aggregate_id desc))[1]
        end as last,
        -- The page before has checked the aggregate that it ended with, unless more of its events follow.
        $3 = 0 or coalesce(bool_or(aggregate_id = $2), false) as has_first
    from event
)
select
    v.id as aggregate_id, to_json(v.*) as viewed, v.version as viewed_version, null::uuid as id, null::integer as version,
    null::bigint as position, null::smallint as type_id, null::timestamptz as created_at, null::jsonb as payload,
    null::jsonb as metadata, null::boolean as claimed, null::boolean as skipped
from range
cross join lateral (
    select v.*
    from foldlog."{table}" v
    where v.id >= $2
        and v.id <= range.last
        and (v.id > $2 or range.has_first)
) v
union all
select
    e.aggregate_id, null, null, e.id, e.version, e.position, e.type_id, e.created_at, e.payload, e.metadata,
    (
        select exists (
            select
            from (
                select
                from foldlog.locker l
                where l.event_id = e.id
                    and l.aggregate_id = e.aggregate_id
                    and l.lock_domain = $1
                limit 1
            ) l
        )
    ),
    case
        when (select exists (select from foldlog.skipped s where s.projection = split_part($1, '#', 1) limit 1)) then (
            select exists (
                select
                from (
                    select
                    from foldlog.skipped s
                    where s.projection = split_part($1, '#', 1)
                        and s.aggregate_id = e.aggregate_id
                        and s.version = e.version
                    limit 1
                ) s
            )
        )
    end
from event e
