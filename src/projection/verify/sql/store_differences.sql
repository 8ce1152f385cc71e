-- Records the differences that a verification has found.
-- $1 text the projection
-- $2 uuid[] aggregate ids
-- $3 integer[] their versions
-- $4 text[] fields
-- $5 text[] the values in the view, as JSON
-- $6 text[] the values that the events give, as JSON
-- role: foldlog_projection
-- uses: differences_pkey
insert into foldlog.differences (projection, aggregate_id, version, field, live, new)
select $1, aggregate_id, version, field, live::json, new::json
from unnest($2::uuid[], $3::integer[], $4::text[], $5::text[], $6::text[]) as found (aggregate_id, version, field, live, new)
on conflict do nothing
