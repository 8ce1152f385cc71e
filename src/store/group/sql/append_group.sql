-- Appends events of different requests, each of another aggregate and with another id, each behind the newest of its
-- aggregate. An event that cannot be appended does not affect the others. Every group inserts in the order of the aggregates,
-- so groups of two hosts do not deadlock. Waiting for a lock longer than the limit fails the statement, so that one locked
-- aggregate does not delay the others.
-- $1 uuid[] event ids
-- $2 uuid[] aggregate ids
-- $3 smallint[] type ids
-- $4 jsonb[] payloads
-- $5 jsonb[] metadata
-- $6 integer[] expected versions (0: must not exist), or nulls
-- $7 uuid[] ids of the events at the expected versions, or nulls
-- $8 timestamptz[] when those events were appended, or nulls
-- $9 text how long to wait for a lock; null: as the session says
-- $10 boolean whether to return the payloads
-- returns rows (aggregate_id, version, position, created_at, payload), without the events that are not appended
-- role: foldlog_command
-- uses: events_aggregate_id_version_key events_pkey
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
returning aggregate_id, version, position, created_at, case when $10 then payload end as payload
