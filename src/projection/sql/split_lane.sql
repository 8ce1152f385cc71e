-- Splits a lane with unsettled events in two halves with the same settled state, if enough events are left for both: the largest, so that
-- the shares of the workers stay alike. It waits for the worker that holds the lane.
-- $1 text lock domain
-- $2 smallint[] the first slots of the lanes that have no new events
-- $3 bigint split only if more than this many events are left
-- returns a row (split bool), or no row when every lane is in $2 or is settled to the end of the log, or the generation is dropped
-- role: foldlog_projection
-- uses: settled_pkey events_txid_position_idx views_pkey
with log as materialized (
    select foldlog.log_snapshot() as frozen
),
chosen as materialized (
    select s.first, s.last
    from foldlog.settled s
    cross join log
    where s.lock_domain = $1
        and s.first <> all ($2)
        and exists (select from foldlog.views g where g.name = $1 and g.state <> 'dropped')
        and (
            exists (
                select
                from foldlog.events e
                where (e.txid, e.position) > (coalesce(s.txid, pg_snapshot_xmax(s.snapshot)), s.position)
            )
            or exists (
                select
                from pg_snapshot_xip(s.snapshot) as late (txid)
                where pg_visible_in_snapshot(late.txid, log.frozen)
            )
        )
    -- Workers that wait at the same time wait for different lanes.
    order by s.first - s.last, random()
    limit 1
),
-- It locks this lane and no other, whatever has become of it: workers that each held a lane and waited for another would deadlock.
lane as materialized (
    select s.lock_domain, s.first, s.last, s.snapshot, s.txid, s.position, s.turn
    from foldlog.settled s
    where s.lock_domain = $1
        and s.first = (select first from chosen)
    for update
),
worthwhile as materialized (
    select lane.*
    from lane
    -- If another worker has split it meanwhile, one of its halves is free.
    join chosen using (first, last)
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
