-- Splits the lane that is furthest behind in two halves with the same settled state, if enough events are left for both. It waits
-- for the worker that holds the lane.
-- $1 text lock domain
-- $2 smallint[] the first slots of the lanes that have no new events
-- $3 bigint split only if more than this many events are left
-- returns a row (split bool), or no row when every lane is in $2
-- role: foldlog_projection
-- uses: settled_pkey events_txid_position_idx
with lane as materialized (
    select lock_domain, first, last, snapshot, txid, position, turn
    from foldlog.settled
    where lock_domain = $1
        and first <> all ($2)
    order by pg_snapshot_xmax(snapshot), pg_snapshot_xmin(snapshot), position, first - last, first
    limit 1
    for update
),
worthwhile as materialized (
    select lane.*
    from lane
    cross join lateral (
        select
        from foldlog.events e
        where (e.txid, e.position) > (coalesce(lane.txid, pg_snapshot_xmax(lane.snapshot)), lane.position)
        order by e.txid, e.position
        offset $3
        limit 1
    ) e
    where lane.first < lane.last
),
upper as (
    insert into foldlog.settled (lock_domain, first, last, snapshot, txid, position, turn)
    select lock_domain, (first + last) / 2 + 1, last, snapshot, txid, position, turn + 1
    from worthwhile
    returning first
),
lower as (
    update foldlog.settled s
    set last = (w.first + w.last) / 2, turn = s.turn + 1
    from worthwhile w
    where s.lock_domain = $1
        and s.first = w.first
    returning s.first
)
select (select count(*) from upper) + (select count(*) from lower) = 2 as split
from lane
