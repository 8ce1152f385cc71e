-- Creates the slices of a generation.
-- $1 text lock domain
-- $2 uuid[] where they begin, in order, apart from the first one
-- role: foldlog_projection
with slice as (
    select '00000000-0000-0000-0000-000000000000'::uuid as first
    union
    select unnest($2::uuid[])
)
insert into foldlog.slices (lock_domain, first, last, last_version, done)
select
    $1,
    first,
    coalesce(lead(first) over (order by first), 'ffffffff-ffff-ffff-ffff-ffffffffffff'),
    case when lead(first) over (order by first) is null then 2147483647 else 0 end,
    first
from slice
