-- Appends several events, all or none, each behind the newest of its aggregate.
-- $1 uuid[] event ids
-- $2 uuid[] aggregate ids
-- $3 smallint[] type ids
-- $4 jsonb[] payloads
-- $5 jsonb[] metadata
-- $6 integer[] the event's place among the events of its aggregate in this request: 1, 2, 3 …
-- $7 uuid[] the aggregates, each once
-- $8 integer[] their expected versions (0: must not exist), or nulls
-- $9 uuid[] the ids of the events at these versions, or nulls
-- $10 timestamptz[] when those events were appended, or nulls
-- $11 boolean whether to return the payloads
-- returns rows (id, aggregate_id, version, position, created_at, payload), or none when an aggregate is at another event or an id is taken
-- role: foldlog_command
-- uses: events_aggregate_id_version_key events_pkey
with heads as materialized (
    select
        wanted.aggregate_id,
        coalesce(newest.version, 0) as version,
        newest.created_at,
        (wanted.expected is null or coalesce(newest.version, 0) = wanted.expected)
            and (wanted.last_id is null or (newest.id = wanted.last_id and newest.created_at = wanted.last_at)) as expected
    from unnest($7::uuid[], $8::integer[], $9::uuid[], $10::timestamptz[]) as wanted (aggregate_id, expected, last_id, last_at)
    left join lateral (
        select e.version, e.id, e.created_at
        from foldlog.events e
        where e.aggregate_id = wanted.aggregate_id
        order by e.version desc
        limit 1
    ) newest on true
)
insert into foldlog.events (id, aggregate_id, version, type_id, payload, metadata, txid, created_at)
select
    new.id,
    new.aggregate_id,
    heads.version + new.step,
    new.type_id,
    new.payload,
    new.metadata,
    case (select txid_offset from foldlog.log where written::xid = xmin)
        when 0 then pg_current_xact_id()
        else foldlog.log_txid()
    end,
    greatest(statement_timestamp(), heads.created_at)
from unnest($1::uuid[], $2::uuid[], $3::smallint[], $4::jsonb[], $5::jsonb[], $6::integer[])
    with ordinality as new (id, aggregate_id, type_id, payload, metadata, step, place)
join heads on heads.aggregate_id = new.aggregate_id
where not exists (select from heads where expected is not true)
    and not exists (
        select
        from unnest($1::uuid[]) as wanted (id)
        where (select e.id from foldlog.events e where e.id = wanted.id order by e.aggregate_id limit 1) is not null
    )
order by new.place
returning id, aggregate_id, version, position, created_at, case when $11 then payload end as payload
