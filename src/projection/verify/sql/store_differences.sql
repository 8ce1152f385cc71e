-- Records the differences that a verification has found.
-- $1 text the projection
-- $2 uuid[] aggregate ids
-- $3 text[] fields
-- $4 text[] the values in the view, as JSON
-- $5 text[] the values that the events give, as JSON
-- role: foldlog_projection
-- uses: differences_pkey
insert into foldlog.differences (projection, aggregate_id, field, live, new)
select $1, aggregate_id, field, live::json, new::json
from unnest($2::uuid[], $3::text[], $4::text[], $5::text[]) as found (aggregate_id, field, live, new)
on conflict do nothing
