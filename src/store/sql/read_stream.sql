-- A part of an aggregate's events in the order of their versions. Events are immutable and versions have no holes, so several parts
-- read one after the other are the same as if they had been read at once.
-- The limit is inside, so that no more events are looked at, however many an aggregate has after the time.
-- $1 uuid the aggregate
-- $2 integer the version after which to begin
-- $3 integer the last version, or null
-- $4 timestamptz the time after which no event is wanted, or null; `created_at` rises with the version
-- $5 bigint the most events
-- $6 text the projection whose skipped events are wanted, or null
-- returns rows (id, aggregate_id, version, position, type_id, created_at, payload, metadata, skipped integer[]); `skipped` is the same in each
-- role: foldlog_query
-- uses: events_aggregate_id_version_key skipped_pkey
with skipped as materialized (
    select array_agg(s.version) as versions
    from foldlog.skipped s
    where s.aggregate_id = $1
        and s.projection = $6
)
select
    e.id,
    e.aggregate_id,
    e.version,
    e.position,
    e.type_id,
    e.created_at,
    e.payload,
    e.metadata,
    (select versions from skipped) as skipped
from (
    select e.id, e.aggregate_id, e.version, e.position, e.type_id, e.created_at, e.payload, e.metadata
    from foldlog.events e
    where e.aggregate_id = $1
        and e.version > $2
        and e.version <= coalesce($3, 2147483647)
    order by e.version
    limit $5
) e
where $4::timestamptz is null
    or e.created_at <= $4
order by e.version
