-- Which events of an aggregate a projection has claimed, which wait and why, all from one snapshot. Claims are looked up event by
-- event, so a claim that was deleted by hand shows.
-- `serves` says whether the generation of the lock domain serves this process.
-- `revision` is the hash of the claims: SHA-256 over the ids of the claimed events in the order of their versions.
-- A range is a run of versions that are all claimed or all unclaimed. `settled`: the lane of the aggregate has settled the range's
-- first event, so no pass finds it again.
-- $1 uuid the aggregate
-- $2 text lock domain
-- $3 smallint the first event type
-- $4 smallint the event type before which to end
-- $5 bigint the most ranges
-- returns rows (serves bool, claimed bool, first integer, last integer, since timestamptz, settled bool, claimed_events bigint, waiting_events bigint, ranges bigint, newest integer, revision text, viewed_version integer, parked_event uuid, parked_version integer, parked_class text, parked_at timestamptz, attempts integer, next_try timestamptz)
-- role: foldlog_query
-- uses: events_aggregate_id_version_key locker_pkey settled_pkey parked_pkey {table}_pkey
with own as materialized (
    select e.id, e.version, e.txid, e.position, e.created_at, claim.is is not null as claimed
    from foldlog.events e
    left join lateral (
        select true as is
        from foldlog.locker l
        where l.event_id = e.id
            and l.aggregate_id = e.aggregate_id
            and l.lock_domain = $2
        limit 1
    ) claim on true
    where e.aggregate_id = $1
        and e.type_id >= $3
        and e.type_id < $4
),
runs as (
    select o.version, o.txid, o.position, o.created_at, o.claimed,
        o.version - row_number() over (partition by o.claimed order by o.version) as run
    from own o
),
ranges as (
    select r.claimed, min(r.version) as first, max(r.version) as last
    from runs r
    group by r.claimed, r.run
),
totals as (
    select
        count(*) filter (where o.claimed) as claimed_events,
        count(*) filter (where not o.claimed) as waiting_events,
        max(o.version) as newest,
        encode(sha256(string_agg(uuid_send(o.id), ''::bytea order by o.version) filter (where o.claimed)), 'hex') as revision
    from own o
)
select
    {serves} as serves,
    shown.claimed,
    shown.first,
    shown.last,
    first_event.created_at as since,
    coalesce(lane.settled, false) as settled,
    totals.claimed_events,
    totals.waiting_events,
    (select count(*) from ranges) as ranges,
    totals.newest,
    totals.revision,
    viewed.version as viewed_version,
    parked.event_id as parked_event,
    parked.version as parked_version,
    parked.class as parked_class,
    parked.parked_at,
    parked.attempts,
    parked.next_try
from totals
cross join lateral (
    select r.claimed, r.first, r.last
    from ranges r
    order by r.first desc
    limit $5
) shown
join own first_event on first_event.version = shown.first
left join lateral (
    select pg_visible_in_snapshot(first_event.txid, s.snapshot)
        or (first_event.txid = s.txid and first_event.position <= s.position) as settled
    from foldlog.settled s
    where s.lock_domain = $2
        and (uuid_hash($1) & 255) between s.first and s.last
    limit 1
) lane on true
left join lateral (
    select v.version
    from foldlog."{table}" v
    where v.id = $1
    limit 1
) viewed on true
left join lateral (
    select p.event_id, p.version, p.class, p.parked_at, p.attempts, p.next_try
    from foldlog.parked p
    where p.lock_domain = $2
        and p.aggregate_id = $1
    limit 1
) parked on true
order by shown.first
