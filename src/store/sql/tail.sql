select e.id, e.aggregate_id, e.version, e.position, e.type_id, e.created_at, e.payload, e.metadata
from events e
where e.aggregate_id = wanted.id
    and e.version > coalesce(viewed.version, 0)
