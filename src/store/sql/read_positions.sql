-- The position of the log's newest event before each of several times, or that before its first event. The event is found by halving the
-- range of transaction ids, which are nearly in the order of time (a caller's transaction may get its id long before it appends): some
-- thirty reads of one event, however long the log is.
-- $1 timestamptz[] the times
-- returns rows bigint, in the order of the times; none if there are no events
-- role: foldlog_query
-- uses: events_txid_position_idx
with recursive ends as materialized (
    select first.txid::text::bigint as first, first.position, last.txid::text::bigint as last
    from (
        select e.txid, e.position
        from foldlog.events e
        order by e.txid, e.position
        limit 1
    ) first
    cross join (
        select e.txid
        from foldlog.events e
        order by e.txid desc, e.position desc
        limit 1
    ) last
),
-- The events below `low` are before the time, and those from `high` on are not.
halves (step, place, at, low, high) as (
    select 0, t.place, t.at, ends.first, ends.last + 1
    from unnest($1::timestamptz[]) with ordinality as t (at, place)
    cross join ends
    union all
    select
        h.step + 1,
        h.place,
        h.at,
        case when middle.created_at < h.at then middle.txid + 1 else h.low end,
        case when middle.created_at < h.at then h.high else (h.low + h.high) / 2 end
    from halves h
    cross join lateral (
        select e.txid::text::bigint as txid, e.created_at
        from foldlog.events e
        where e.txid >= ((h.low + h.high) / 2)::text::xid8
        order by e.txid, e.position
        limit 1
    ) middle
    where h.low < h.high
),
found as (
    select distinct on (place) place, low
    from halves
    order by place, step desc
)
select coalesce(
    (
        select e.position
        from foldlog.events e
        where e.txid < found.low::text::xid8
        order by e.txid desc, e.position desc
        limit 1
    ),
    (select position - 1 from ends)
) as position
from found
order by found.place
