-- The differences that the last verification has recorded, in the order of aggregates and fields.
-- $1 text the projection
-- $2 uuid after the difference of this aggregate
-- $3 text in this field; null: from the aggregate's first one on
-- $4 bigint at most this many
-- returns rows (aggregate_id uuid, field text, live json, new json)
-- role: foldlog_query
-- uses: differences_pkey
select aggregate_id, field, live, new
from foldlog.differences
where projection = $1
    and aggregate_id >= $2
    and ($3::text is null or (aggregate_id, field) > ($2, $3::text))
order by aggregate_id, field
limit $4
