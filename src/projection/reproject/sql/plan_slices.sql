-- Cuts the aggregates into slices with about the same number of events each. The boundaries come from a sample of the log's pages,
-- because ids are not evenly distributed: those with a time in them begin alike.
-- $1 text lock domain
-- $2 bigint the most slices
-- $3 bigint the fewest events of a slice
-- $4 bigint how many pages the log has
-- role: foldlog_projection
with share as materialized (
    select least(100, 2000 * 100.0 / greatest(1, $4::bigint))::real as percent
),
sampled as materialized (
    select e.aggregate_id
    from foldlog.events e tablesample system ((select percent from share))
),
cut as materialized (
    select greatest(1, least($2::bigint, (count(*) * 100 / (select percent from share))::bigint / $3::bigint)) as slices
    from sampled
),
boundary as (
    select distinct unnest(percentile_disc(
        (select array_agg(n::double precision / slices) from cut, generate_series(1, slices - 1) as n)
    ) within group (order by aggregate_id)) as id
    from sampled
    where (select slices from cut) > 1
),
slice as (
    select '00000000-0000-0000-0000-000000000000'::uuid as first
    union
    select id
    from boundary
    where id is not null
)
insert into foldlog.slices (lock_domain, first, last, last_version, done)
select
    $1,
    first,
    coalesce(lead(first) over (order by first), 'ffffffff-ffff-ffff-ffff-ffffffffffff'),
    case when lead(first) over (order by first) is null then 2147483647 else 0 end,
    first
from slice
