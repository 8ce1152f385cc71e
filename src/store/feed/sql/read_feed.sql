-- Reads the feed forward: first where it is, then the next events in log order. It looks at a bounded number of events, however few
-- of them have the types asked for, and says which was the last.
-- $1 text the transaction id after which to begin
-- $2 bigint the position within this transaction after which to begin
-- $3 smallint the first event type
-- $4 smallint the event type before which to end
-- $5 smallint[] the event types; null: all of them
-- $6 bigint the most events
-- $7 bigint look at so many events at most
-- returns rows (cursor_id, is_standby, is_cut, end_txid, end_position, end_id, hidden, hidden_since), then the events
-- role: foldlog_query
-- uses: events_txid_position_idx
with horizon as materialized (
    select foldlog.feed_horizon() as txid
),
found as materialized (
    select e.*
    from horizon
    cross join lateral (
        select looked_at.*
        from (
            select e.txid, e.position, e.id, e.aggregate_id, e.version, e.type_id, e.created_at, e.payload, e.metadata
            from foldlog.events e
            where (e.txid, e.position) > ($1::text::xid8, $2::bigint)
                and e.txid < horizon.txid
            order by e.txid, e.position
            limit $7
        ) looked_at
        where looked_at.type_id >= $3
            and looked_at.type_id < $4
            and ($5::smallint[] is null or looked_at.type_id = any ($5))
        order by looked_at.txid, looked_at.position
        limit $6
    ) e
),
-- Whether the page ends before it is full. Only then it matters how far this statement has looked.
short as materialized (
    select
    where (select count(*) from found) < $6
),
cut as materialized (
    select e.txid, e.position, e.id
    from short
    cross join horizon
    cross join lateral (
        select e.txid, e.position, e.id
        from foldlog.events e
        where (e.txid, e.position) > ($1::text::xid8, $2)
            and e.txid < horizon.txid
        order by e.txid, e.position
        offset $7 - 1
        limit 1
    ) e
),
newest as materialized (
    select e.txid, e.position, e.id
    from short
    cross join horizon
    cross join lateral (
        select e.txid, e.position, e.id
        from foldlog.events e
        where (e.txid, e.position) > ($1::text::xid8, $2)
            and e.txid < horizon.txid
        order by e.txid desc, e.position desc
        limit 1
    ) e
    where not exists (select from cut)
),
-- Committed events behind a transaction that is still open.
hidden as materialized (
    select count(*) as events, min(e.created_at) filter (where isfinite(e.created_at)) as since
    from short
    cross join horizon
    cross join lateral (
        select e.type_id, e.created_at
        from foldlog.events e
        where (e.txid, e.position) > (greatest(horizon.txid, $1::text::xid8), case when $1::text::xid8 >= horizon.txid then $2 else 0 end)
            and e.txid < '4611686018427387904'::xid8
        order by e.txid, e.position
        limit 1000
    ) e
    where not exists (select from cut)
        and e.type_id >= $3
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
    exists (select from cut) as is_cut,
    last.txid::text as end_txid,
    last.position as end_position,
    last.id as end_id,
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
left join (
    select txid, position, id
    from cut
    union all
    select txid, position, id
    from newest
) last on true
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
