-- Reads the next events of a slice that C sees, in the order of aggregates and versions.
-- $1 text the snapshot C
-- $2 uuid after the event of this aggregate
-- $3 integer with this version
-- $4 uuid up to the event of this aggregate
-- $5 integer with this version
-- $6 smallint the first event type
-- $7 smallint the event type before which to end
-- $8 bigint at most this many events
-- $9 text the projection
-- returns rows (id, aggregate_id, version, position, type_id, created_at, payload, metadata, skipped bool or null)
-- role: foldlog_projection
-- uses: events_aggregate_id_version_key skipped_pkey
with frozen as materialized (
    select $1::text::pg_snapshot as c
)
select
    e.id, e.aggregate_id, e.version, e.position, e.type_id, e.created_at, e.payload, e.metadata,
    case
        when (select exists (select from foldlog.skipped s where s.projection = $9 limit 1)) then (
            select exists (
                select
                from (
                    select
                    from foldlog.skipped s
                    where s.projection = $9
                        and s.aggregate_id = e.aggregate_id
                        and s.version = e.version
                    limit 1
                ) s
            )
        )
    end as skipped
from frozen
cross join lateral (
    select e.id, e.aggregate_id, e.version, e.position, e.type_id, e.created_at, e.payload, e.metadata
    from foldlog.events e
    where (e.aggregate_id, e.version) > ($2, $3)
        and (e.aggregate_id, e.version) <= ($4, $5)
        and pg_visible_in_snapshot(e.txid, frozen.c)
        and e.type_id >= $6
        and e.type_id < $7
    order by e.aggregate_id, e.version
    limit $8
) e
