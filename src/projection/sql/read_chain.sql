-- The next events of an aggregate from a version on, in their order.
-- $1 uuid aggregate id
-- $2 integer version
-- $3 smallint the first event type
-- $4 smallint the event type before which to end
-- $5 bigint at most so many
-- returns rows (id, aggregate_id, version, position, type_id, created_at, payload, metadata)
-- role: foldlog_projection
-- uses: events_aggregate_id_version_key
select id, aggregate_id, version, position, type_id, created_at, payload, metadata
from foldlog.events
where aggregate_id = $1
    and version >= $2
    and type_id >= $3
    and type_id < $4
order by version
limit $5
