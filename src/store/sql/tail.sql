-- The events of an aggregate above its view row: the body of a lateral join behind `wanted` (id) and `viewed` (version).
-- returns rows (id, aggregate_id, version, position, type_id, created_at, payload, metadata)
-- role: foldlog_command
-- uses: events_aggregate_id_version_key users_pkey
-- part of: Statements::with_tail
select e.id, e.aggregate_id, e.version, e.position, e.type_id, e.created_at, e.payload, e.metadata
from foldlog.events e
where e.aggregate_id = wanted.id
    and e.version > coalesce(viewed.version, 0)
