-- Takes the next events in log order and claims them; the insert is the test for "unclaimed". A claim that another
-- worker is at is waited for. Events of parked aggregates are passed over, decided on rows that are share-locked here:
-- a retry that un-parks one of them at this moment excludes this statement, or is excluded by it.
-- $1 text lock domain
-- $2 text[] spans of txids to look into: the first txid of each
-- $3 bigint[] the position in that txid behind which to look
-- $4 text[] the txid before which each span ends
-- $5 text the snapshot C
-- $6 smallint the first event type
-- $7 smallint the event type before which to end
-- $8 bigint look at so many events at most, wanted or not: what one statement does is bounded, however rare the wanted are
-- returns rows: each event wanted; each claim as (id, aggregate_id); the last event looked at as (position, txid, looked_at)
-- role: foldlog_projection
-- uses: events_txid_position_idx parked_pkey locker_pkey
with passed_over as materialized (
    select aggregate_id
    from foldlog.parked
    where lock_domain = $1
    for share
),
looked_at as materialized (
    select e.id, e.aggregate_id, e.version, e.position, e.txid, e.type_id, e.created_at, e.payload, e.metadata
    from unnest($2::text[]::xid8[], $3::bigint[], $4::text[]::xid8[]) as span (txid, position, before)
    cross join lateral (
        select e.id, e.aggregate_id, e.version, e.position, e.txid, e.type_id, e.created_at, e.payload, e.metadata
        from foldlog.events e
        where (e.txid, e.position) > (span.txid, span.position)
            and e.txid < span.before
            and pg_visible_in_snapshot(e.txid, $5::text::pg_snapshot)
        order by e.txid, e.position
        limit $8
    ) e
    order by e.txid, e.position
    limit $8
),
wanted as materialized (
    select id, aggregate_id, version, position, txid, type_id, created_at, payload, metadata
    from looked_at
    where type_id >= $6
        and type_id < $7
        and aggregate_id not in (select aggregate_id from passed_over)
    order by txid, position
),
claimed as (
    insert into foldlog.locker (event_id, aggregate_id, lock_domain)
    select id, aggregate_id, $1
    from wanted
    order by txid, position
    on conflict do nothing
    returning event_id, aggregate_id
)
select id, aggregate_id, version, position, type_id, created_at, payload, metadata, null::text as txid, null::bigint as looked_at
from wanted
union all
select event_id, aggregate_id, null, null, null, null, null, null, null, null
from claimed
union all
(
    select null, null, null, position, null, null, null, null, txid::text, (select count(*) from looked_at)
    from looked_at
    order by looked_at.txid desc, looked_at.position desc
    limit 1
)
