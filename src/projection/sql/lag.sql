-- How far a projection is behind: events without a claim, not of parked aggregates; and its parked aggregates. Measured
-- from what all lanes have settled, but decided by the locker, so a mark that stands still cannot make it look healthy. The newest
-- events of the log are looked at in any case, so a mark that is wrong cannot either.
-- `fold_changed`: a build with another fold has written the rows; null if that is not known.
-- `new_generation`: the generation that a reprojection fills, or null, with the slices of its work.
-- `serves`: whether readers with any definition read this generation; if none do, another one has replaced it. `whole`: there was no more to look at. `settled`: a worker has completed a pass of this projection.
-- $1 text lock domain
-- $2 smallint the first event type
-- $3 smallint the event type before which to end
-- $4 bigint look at so many events at most, claimed or not
-- $5 text the hash of this build's fold
-- returns a row (events, seconds, parked, whole, settled, newest_event_at, oldest_waiting_at, worker_seen_at, fold_changed, serves, new_generation, slices_done, slices)
-- role: foldlog_query
-- uses: views_pkey views_projection_idx slices_pkey settled_pkey events_txid_position_idx locker_pkey parked_pkey
with mark as (
    -- What all lanes have settled ends where the first of them ends.
    select coalesce(min(pg_snapshot_xmax(snapshot)::text::bigint), 1)::text::xid8 as txid
    from foldlog.settled
    where lock_domain = $1
),
span as (
    select distinct running.txid, running.txid as last
    from mark, foldlog.settled s, pg_snapshot_xip(s.snapshot) as running (txid)
    where s.lock_domain = $1
        and running.txid < mark.txid
    union all
    select txid, '9223372036854775807'::xid8
    from mark
),
looked_at as materialized (
    select e.id, e.aggregate_id, e.type_id, e.created_at
    from span
    cross join lateral (
        select e.id, e.aggregate_id, e.type_id, e.created_at
        from foldlog.events e
        where e.txid >= span.txid
            and e.txid <= span.last
        order by e.txid, e.position
        limit $4
    ) e
    limit $4
),
newest as materialized (
    select e.id, e.aggregate_id, e.type_id, e.created_at
    from foldlog.events e
    order by e.txid desc, e.position desc
    limit 100
),
reprojection as (
    select
        g.name,
        (select count(*) from foldlog.slices s where s.lock_domain = g.name and s.is_finished) as slices_done,
        (select count(*) from foldlog.slices s where s.lock_domain = g.name) as slices
    from foldlog.views g
    where g.projection = split_part($1, '#', 1)
        and g.state = 'filling'
    order by g.created_at desc
    limit 1
),
unclaimed as (
    select e.created_at
    from (
        select id, aggregate_id, type_id, created_at from looked_at
        union
        select id, aggregate_id, type_id, created_at from newest
    ) e
    left join lateral (
        select true as is
        from foldlog.locker l
        where l.event_id = e.id
            and l.aggregate_id = e.aggregate_id
            and l.lock_domain = $1
        limit 1
    ) claimed on true
    left join lateral (
        select true as is
        from foldlog.parked p
        where p.lock_domain = $1
            and p.aggregate_id = e.aggregate_id
        limit 1
    ) parked on true
    where e.type_id >= $2
        and e.type_id < $3
        and claimed.is is null
        and parked.is is null
)
select
    count(*) as events,
    coalesce(greatest(extract(epoch from statement_timestamp() - min(created_at) filter (where isfinite(created_at))), 0), 0)::double precision as seconds,
    (select count(*) from foldlog.parked where lock_domain = $1) as parked,
    (select count(*) from looked_at) < $4 as whole,
    exists (select from foldlog.settled where lock_domain = $1 and pg_snapshot_xmax(snapshot) > '1') as settled,
    (
        select max(created_at)
        from newest
        where type_id >= $2
            and type_id < $3
            and created_at between '0001-01-01' and '9999-12-31'
    ) as newest_event_at,
    min(created_at) filter (where created_at between '0001-01-01' and '9999-12-31') as oldest_waiting_at,
    (select max(settled_at) from foldlog.settled where lock_domain = $1 and isfinite(settled_at)) as worker_seen_at,
    (select g.fold_hash <> $5 from foldlog.views g where g.name = $1) as fold_changed,
    exists (select from foldlog.views g where g.name = $1 and g.serves) as serves,
    (select name from reprojection) as new_generation,
    (select slices_done from reprojection) as slices_done,
    (select slices from reprojection) as slices
from unclaimed
