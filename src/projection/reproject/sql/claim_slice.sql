-- Claims the events of a part of a slice that C sees: of an aggregate that could not be folded those before the event that failed. The
-- ids are sorted, because the key of `locker` begins with them and neighbours share its pages. A crash loses the claims together with
-- the rows and the mark of the slice, so the commit need not be flushed.
-- $1 text lock domain
-- $2 text the snapshot C
-- $3 uuid after the event of this aggregate
-- $4 integer with this version
-- $5 uuid up to the event of this aggregate
-- $6 integer with this version
-- $7 smallint the first event type
-- $8 smallint the event type before which to end
-- $9 uuid[] the aggregates that could not be folded
-- $10 integer[] the versions that failed
-- role: foldlog_projection
-- uses: events_aggregate_id_version_key
with frozen as materialized (
    select $2::text::pg_snapshot as c, set_config('synchronous_commit', 'off', true)
),
event as materialized (
    select e.id, e.aggregate_id
    from frozen
    cross join lateral (
        select e.id, e.aggregate_id
        from foldlog.events e
        where (e.aggregate_id, e.version) > ($3, $4)
            and (e.aggregate_id, e.version) <= ($5, $6)
            and pg_visible_in_snapshot(e.txid, frozen.c)
            and e.type_id >= $7
            and e.type_id < $8
            and e.aggregate_id <> all ($9::uuid[])
    ) e
    union all
    select e.id, e.aggregate_id
    from frozen
    cross join unnest($9::uuid[], $10::integer[]) as failed (aggregate_id, version)
    cross join lateral (
        select e.id, e.aggregate_id
        from foldlog.events e
        where e.aggregate_id = failed.aggregate_id
            and e.version < failed.version
            and (e.aggregate_id, e.version) > ($3, $4)
            and pg_visible_in_snapshot(e.txid, frozen.c)
            and e.type_id >= $7
            and e.type_id < $8
        -- Keeps the planner from comparing all events with all of these aggregates.
        offset 0
    ) e
)
insert into foldlog.locker (event_id, aggregate_id, lock_domain)
select id, aggregate_id, $1
from event
order by id
