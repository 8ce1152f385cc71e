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
-- $8 bigint at most so many events
-- returns rows: of every event looked at its columns with txid; of every event claimed (id, aggregate_id) and nulls
-- role: foldlog_projection
-- uses: events_txid_position_idx parked_pkey locker_pkey
with passed_over as materialized (
    select aggregate_id
    from parked
    where lock_domain = $1
    for share
),
wanted as materialized (
    select e.id, e.aggregate_id, e.version, e.position, e.txid, e.type_id, e.created_at, e.payload, e.metadata
    from unnest($2::text[]::xid8[], $3::bigint[], $4::text[]::xid8[]) as span (txid, position, before)
    cross join lateral (
        select e.id, e.aggregate_id, e.version, e.position, e.txid, e.type_id, e.created_at, e.payload, e.metadata
        from events e
        where (e.txid, e.position) > (span.txid, span.position)
            and e.txid < span.before
            and e.type_id >= $6
            and e.type_id < $7
            and pg_visible_in_snapshot(e.txid, $5::text::pg_snapshot)
            and e.aggregate_id not in (select aggregate_id from passed_over)
        order by e.txid, e.position
        limit $8
    ) e
    order by e.txid, e.position
    limit $8
),
claimed as (
    insert into locker (event_id, aggregate_id, lock_domain)
    select id, aggregate_id, $1
    from wanted
    order by txid, position
    on conflict do nothing
    returning event_id, aggregate_id
)
select id, aggregate_id, version, position, txid::text as txid, type_id, created_at, payload, metadata
from wanted
union all
select event_id, aggregate_id, null, null, null, null, null, null, null
from claimed
