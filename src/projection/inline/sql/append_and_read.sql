-- Appends events as append_group.sql does, and reads what an inline fold of them needs: the view rows of their
-- aggregates, in one snapshot with the versions that the events get. Events that are not appended are not returned.
-- $1 uuid[] event ids
-- $2 uuid[] aggregate ids
-- $3 smallint[] type ids
-- $4 jsonb[] payloads
-- $5 jsonb[] metadata
-- $6 integer[] expected versions (0: must not exist), or nulls
-- $7 uuid[] ids of the events at the expected versions, or nulls
-- $8 timestamptz[] when those events were appended, or nulls
-- $9 text how long to wait for a lock; null: as the session says
-- $10 text the projection, which must not go live with another generation before this transaction ends
-- $11 text lock domain
-- returns rows (id, aggregate_id, version, position, type_id, created_at, payload, metadata, skipped, viewed, viewed_version, is_parked, repairs)
-- role: foldlog_command_inline
-- uses: events_aggregate_id_version_key events_pkey parked_pkey skipped_pkey {table}_pkey
with appended as (
    insert into foldlog.events (id, aggregate_id, version, type_id, payload, metadata, txid, created_at)
    select
        wanted.id,
        wanted.aggregate_id,
        coalesce(newest.version, 0) + 1,
        wanted.type_id,
        wanted.payload,
        wanted.metadata,
        case (select txid_offset from foldlog.log where written::xid = xmin)
            when 0 then pg_current_xact_id()
            else foldlog.log_txid()
        end,
        greatest(statement_timestamp(), newest.created_at)
    from (select set_config('lock_timeout', coalesce($9, current_setting('lock_timeout')), true)) as limited
    cross join unnest($1::uuid[], $2::uuid[], $3::smallint[], $4::jsonb[], $5::jsonb[], $6::integer[], $7::uuid[], $8::timestamptz[])
        as wanted (id, aggregate_id, type_id, payload, metadata, expected, last_id, last_at)
    left join lateral (
        select e.version, e.id, e.created_at
        from foldlog.events e
        where e.aggregate_id = wanted.aggregate_id
            and wanted.expected is distinct from 0
        order by e.version desc
        limit 1
    ) newest on true
    where (select e.id from foldlog.events e where e.id = wanted.id order by e.aggregate_id limit 1) is null
        and (wanted.expected is null or coalesce(newest.version, 0) = wanted.expected)
        and (wanted.last_id is null or (newest.id = wanted.last_id and newest.created_at = wanted.last_at))
    order by wanted.aggregate_id
    on conflict do nothing
    returning id, aggregate_id, version, position, type_id, created_at, payload, metadata
),
-- After the events, as for a request with several: otherwise two appends, each with one of these locks, would wait for each other
-- while a reprojection waits for the exclusive one.
locked as materialized (
    select pg_advisory_xact_lock_shared(foldlog.generation_key($10))
    from (select count(*) from appended) as inserted
)
select
    a.id, a.aggregate_id, a.version, a.position, a.type_id, a.created_at, a.payload, a.metadata,
    case
        when (select exists (select from foldlog.skipped s where s.projection = $10 limit 1)) then (
            select exists (
                select
                from (
                    select
                    from foldlog.skipped s
                    where s.projection = $10
                        and s.aggregate_id = a.aggregate_id
                        and s.version = a.version
                    limit 1
                ) s
            )
        )
    end as skipped,
    viewed.json as viewed,
    viewed.version as viewed_version,
    -- Only where the row lacks earlier events, as that of a parked aggregate does.
    case
        when coalesce(viewed.version, 0) <> a.version - 1 then (
            select exists (
                select
                from (
                    select
                    from foldlog.parked p
                    where p.lock_domain = $11
                        and p.aggregate_id = a.aggregate_id
                    limit 1
                ) p
            )
        )
    end as is_parked,
    (select g.repairs from foldlog.views g where g.name = $11) as repairs
from locked
cross join appended a
left join lateral (
    select to_json(v.*) as json, v.version
    from foldlog."{table}" v
    where v.id = a.aggregate_id
    limit 1
) viewed on true
