-- Reads the feed backward: first where it is, then the events before a place, the newest first. It looks at a bounded number of
-- events, however few of them have the types asked for, and says which was the last.
-- $1 text the transaction id before which to begin; null: at the newest event
-- $2 bigint the position within this transaction before which to begin
-- $3 smallint the first event type
-- $4 smallint the event type before which to end
-- $5 smallint[] the event types; null: all of them
-- $6 bigint the most events
-- $7 bigint look at so many events at most
-- returns rows (cursor_id, is_standby, is_cut, end_txid, end_position, end_id, newest_txid, newest_position, newest_id, hidden, hidden_since), then the events
-- role: foldlog_query
-- uses: events_txid_position_idx
with horizon as materialized (
    select foldlog.feed_horizon() as txid
),
beginning as materialized (
    select
        least(horizon.txid, coalesce($1::text::xid8, horizon.txid)) as txid,
        case when $1::text::xid8 < horizon.txid then $2::bigint else 0 end as position
    from horizon
),
found as materialized (
    select e.*
    from beginning
    cross join lateral (
        select looked_at.*
        from (
            select e.txid, e.position, e.id, e.aggregate_id, e.version, e.type_id, e.created_at, e.payload, e.metadata
            from foldlog.events e
            where (e.txid, e.position) < (beginning.txid, beginning.position)
            order by e.txid desc, e.position desc
            limit $7
        ) looked_at
        where looked_at.type_id >= $3
            and looked_at.type_id < $4
            and ($5::smallint[] is null or looked_at.type_id = any ($5))
        order by looked_at.txid desc, looked_at.position desc
        limit $6
    ) e
),
-- The last event that was looked at, if there may be others before it.
cut as materialized (
    select e.txid, e.position, e.id
    from beginning
    cross join lateral (
        select e.txid, e.position, e.id
        from foldlog.events e
        where (e.txid, e.position) < (beginning.txid, beginning.position)
        order by e.txid desc, e.position desc
        offset $7 - 1
        limit 1
    ) e
    where (select count(*) from found) < $6
),
newest as materialized (
    select e.txid, e.position, e.id
    from horizon
    cross join lateral (
        select e.txid, e.position, e.id
        from foldlog.events e
        where e.txid < horizon.txid
        order by e.txid desc, e.position desc
        limit 1
    ) e
),
-- Committed events behind a transaction that is still open.
hidden as materialized (
    select count(*) as events, min(e.created_at) filter (where isfinite(e.created_at)) as since
    from horizon
    cross join lateral (
        select e.type_id, e.created_at
        from foldlog.events e
        where e.txid >= horizon.txid
            and e.txid < '4611686018427387904'::xid8
            and $1::text is null
        order by e.txid, e.position
        limit 1000
    ) e
    where e.type_id >= $3
        and e.type_id < $4
        and ($5 is null or e.type_id = any ($5))
)
select
    (
        select e.id
        from foldlog.events e
        where e.txid = $1::text::xid8
            and e.position = $2
        limit 1
    ) as cursor_id,
    pg_is_in_recovery() as is_standby,
    cut.txid is not null as is_cut,
    cut.txid::text as end_txid,
    cut.position as end_position,
    cut.id as end_id,
    newest.txid::text as newest_txid,
    newest.position as newest_position,
    newest.id as newest_id,
    hidden.events as hidden,
    hidden.since as hidden_since,
    null::text as txid,
    null::bigint as position,
    null::uuid as id,
    null::uuid as aggregate_id,
    null::integer as version,
    null::smallint as type_id,
    null::timestamptz as created_at,
    null::jsonb as payload,
    null::jsonb as metadata
from hidden
left join cut on true
left join newest on true
union all
select
    null,
    null,
    null,
    null,
    null,
    null,
    null,
    null,
    null,
    null,
    null,
    txid::text,
    position,
    id,
    aggregate_id,
    version,
    type_id,
    created_at,
    payload,
    metadata
from found
