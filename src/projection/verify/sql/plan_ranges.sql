-- Creates the ranges of a verification.
-- $1 text the projection
-- $2 uuid[] where they begin
-- $3 uuid[] where they end
-- role: foldlog_projection
-- uses: verify_ranges_pkey
insert into foldlog.verify_ranges (projection, first, last, next)
select $1, first, last, first
from unnest($2::uuid[], $3::uuid[]) as range (first, last)
