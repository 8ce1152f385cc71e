-- The events of one aggregate above a version, in their order.
-- $1 uuid aggregate id
-- $2 integer version
-- $3 bigint at most so many
-- returns rows (id, aggregate_id, version, position, type_id, created_at, payload, metadata)
-- role: foldlog_query
-- uses: events_aggregate_id_version_key
select e.id, e.aggregate_id, e.version, e.position, e.type_id, e.created_at, e.payload, e.metadata
from events e
where e.aggregate_id = $1
    and e.version > $2
order by e.version
limit $3
