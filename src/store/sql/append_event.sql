-- Appends one event behind the newest of its aggregate.
-- $1 uuid event id
-- $2 uuid aggregate id
-- $3 smallint type id
-- $4 jsonb payload
-- $5 jsonb metadata
-- $6 integer expected version of the aggregate (0: it must not exist), or null
-- $7 uuid id of the event at the expected version, or null
-- $8 timestamptz when that event was appended, or null
-- $9 boolean whether to return the payload
-- returns a row (version, position, created_at, payload), or none when the aggregate is at another event or the id is taken
-- role: foldlog_command
-- uses: events_aggregate_id_version_key events_pkey
insert into foldlog.events (id, aggregate_id, version, type_id, payload, metadata, txid, created_at)
select
    $1,
    $2,
    coalesce(newest.version, 0) + 1,
    $3,
    $4,
    $5,
    case (select txid_offset from foldlog.log where written::xid = xmin)
        when 0 then pg_current_xact_id()
        else foldlog.log_txid()
    end,
    greatest(statement_timestamp(), newest.created_at)
from (select) as one
left join lateral (
    select e.version, e.id, e.created_at
    from foldlog.events e
    where e.aggregate_id = $2
    order by e.version desc
    limit 1
) newest on true
where ($6::integer is null or coalesce(newest.version, 0) = $6)
    and ($7::uuid is null or (newest.id = $7 and newest.created_at = $8))
    and (select e.id from foldlog.events e where e.id = $1 order by e.aggregate_id limit 1) is null
returning version, position, created_at, case when $9 then payload end as payload
