-- Finds the aggregates from an id on with events that a view has not folded: those with events without a claim above what all lanes
-- have settled, and parked ones. A mark that stands still costs time only, because the locker decides.
-- $1 text lock domain
-- $2 smallint the first event type
-- $3 smallint the event type before which to end
-- $4 bigint look at so many events at most, claimed or not
-- $5 bigint the most aggregates that wait, and the most parked ones
-- $6 uuid the first id
-- returns a row (waiting uuid[], is_complete bool, parked uuid[]); `parked` are the first ones in the order of their ids
-- role: foldlog_query
-- uses: settled_pkey events_txid_position_idx locker_pkey parked_pkey
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
    select e.id, e.aggregate_id, e.type_id
    from span
    cross join lateral (
        select e.id, e.aggregate_id, e.type_id
        from foldlog.events e
        where e.txid >= span.txid
            and e.txid <= span.last
        order by e.txid, e.position
        limit $4
    ) e
    limit $4
),
waiting as materialized (
    select distinct e.aggregate_id
    from looked_at e
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
    ) is_parked on true
    where e.type_id >= $2
        and e.type_id < $3
        and e.aggregate_id >= $6
        and claimed.is is null
        and is_parked.is is null
    limit $5
),
parked as materialized (
    select p.aggregate_id
    from foldlog.parked p
    where p.lock_domain = $1
        and p.aggregate_id >= $6
    order by p.aggregate_id
    limit $5
)
select
    coalesce((select array_agg(aggregate_id) from waiting), '{}') as waiting,
    (select count(*) from looked_at) < $4 and (select count(*) from waiting) < $5 as is_complete,
    coalesce((select array_agg(aggregate_id order by aggregate_id) from parked), '{}') as parked
