-- The differences that a verification has recorded, in the order of aggregates and fields.
-- $1 text the projection
-- returns rows (aggregate_id uuid, version integer, field text, live json, new json)
-- role: foldlog_projection
-- uses: differences_pkey
select aggregate_id, version, field, live, new
from foldlog.differences
where projection = $1
order by aggregate_id, field
