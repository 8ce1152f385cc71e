-- Appends events as append_group.sql does, claims them, and writes the rows that they were folded into before, if what these folds
-- rest on still holds for each event that can be appended: the payload is spelled as it was folded, the view row is at the version below,
-- the aggregate is not parked and has no skipped event, and the generation is live. Otherwise it writes nothing. It fails if that
-- changes while it runs.
-- $1 uuid[] event ids
-- $2 uuid[] aggregate ids
-- $3 smallint[] type ids
-- $4 jsonb[] payloads
-- $5 jsonb[] metadata
-- $6 integer[] expected versions (0: must not exist), or nulls
-- $7 uuid[] ids of the events at the expected versions, or nulls
-- $8 timestamptz[] when those events were appended, or nulls
-- $9 text how long to wait for a lock; null: as the session says
-- $10 text[] the payloads as they were folded
-- $11 text the rows, as a JSON array
-- $12 text the projection, which must not go live with another generation before this transaction ends
-- $13 text lock domain
-- $14 bigint how many repairs there were when the rows were read; null: none was read
-- returns rows (aggregate_id, version, position, created_at, payload, repairs, holds); one without an aggregate if no event is appended
-- role: foldlog_command_inline
-- uses: events_aggregate_id_version_key events_pkey locker_pkey parked_pkey skipped_pkey views_pkey {table}_pkey
with wanted as materialized (
    select
        wanted.id,
        wanted.aggregate_id,
        wanted.type_id,
        wanted.payload,
        wanted.metadata,
        coalesce(newest.version, 0) + 1 as version,
        newest.created_at as last_at,
        wanted.payload::text = wanted.folded
            and coalesce(viewed.version, 0) = coalesce(newest.version, 0)
            and parked.is_parked is null
            and skipped.is_skipped is null as holds
    from (select set_config('lock_timeout', coalesce($9, current_setting('lock_timeout')), true)) as limited
    cross join unnest($1::uuid[], $2::uuid[], $3::smallint[], $4::jsonb[], $5::jsonb[], $6::integer[], $7::uuid[], $8::timestamptz[], $10::text[])
        as wanted (id, aggregate_id, type_id, payload, metadata, expected, last_id, last_at, folded)
    left join lateral (
        select e.version, e.id, e.created_at
        from foldlog.events e
        where e.aggregate_id = wanted.aggregate_id
            and wanted.expected is distinct from 0
        order by e.version desc
        limit 1
    ) newest on true
    left join lateral (
        select v.version
        from foldlog."{table}" v
        where v.id = wanted.aggregate_id
        limit 1
    ) viewed on true
    left join lateral (
        select true as is_parked
        from foldlog.parked p
        where p.lock_domain = $13
            and p.aggregate_id = wanted.aggregate_id
        limit 1
    ) parked on true
    left join lateral (
        select true as is_skipped
        from foldlog.skipped s
        where s.projection = $12
            and s.aggregate_id = wanted.aggregate_id
        limit 1
    ) skipped on true
    where (select e.id from foldlog.events e where e.id = wanted.id order by e.aggregate_id limit 1) is null
        and (wanted.expected is null or coalesce(newest.version, 0) = wanted.expected)
        and (wanted.last_id is null or (newest.id = wanted.last_id and newest.created_at = wanted.last_at))
        -- It exists, so the event is not appended, and its row decides nothing.
        and (wanted.expected is distinct from 0 or viewed.version is null)
),
generation as materialized (
    select (
        select g.repairs
        from foldlog.views g
        where g.name = $13
            and g.state = 'live'
            and {serves}
    ) as repairs
),
basis as materialized (
    select
        generation.repairs,
        generation.repairs is not null
        and ($14::bigint is null or generation.repairs = $14)
        and coalesce((select bool_and(w.holds) from wanted w), true) as holds
    from generation
),
appended as (
    insert into foldlog.events (id, aggregate_id, version, type_id, payload, metadata, txid, created_at)
    select
        wanted.id,
        wanted.aggregate_id,
        wanted.version,
        wanted.type_id,
        wanted.payload,
        wanted.metadata,
        case (select txid_offset from foldlog.log where written::xid = xmin)
            when 0 then pg_current_xact_id()
            else foldlog.log_txid()
        end,
        greatest(statement_timestamp(), wanted.last_at)
    from basis, wanted
    where basis.holds
    order by wanted.aggregate_id
    on conflict do nothing
    returning id, aggregate_id, version, position, created_at
),
-- After the events, as for a request with several: otherwise two appends, each with one of these locks, would wait for each other
-- while a reprojection waits for the exclusive one.
live as materialized (
    select count(*) as events
    from appended
    having count(*) > 0 and foldlog.share_live_generation($12, $13, (select b.repairs from basis b))
),
claimed as (
    insert into foldlog.locker (event_id, aggregate_id, lock_domain)
    select a.id, a.aggregate_id, $13
    from (select from live) as live, appended a
    on conflict do nothing
    returning 1
),
written as (
    insert into foldlog."{table}" (id, version, {columns})
    select r.id, r.version, {columns}
    from (select from live) as live, json_populate_recordset(null::foldlog."{table}", $11::text::json) r
    where exists (select from appended a where a.aggregate_id = r.id and a.version = r.version)
    on conflict (id) do update
    set version = excluded.version, {assignments}
    where "{table}".version = excluded.version - 1
    returning 1
)
select
    a.aggregate_id,
    a.version,
    a.position,
    a.created_at,
    null::jsonb as payload,
    basis.repairs,
    basis.holds
from basis
left join (
    appended a
    join live on foldlog.require_fold(
        live.events = (select count(*) from claimed) and live.events = (select count(*) from written)
    )
) on true
