-- Cuts the aggregates into ranges with about the same number of events each. The boundaries come from a sample of the log's pages,
-- because ids are not evenly distributed: those with a time in them begin alike.
-- $1 bigint the most ranges
-- $2 bigint the fewest events of a range
-- $3 bigint how many pages the log has
-- $4 bigint about how many of them to sample
-- returns rows uuid: the first aggregates of all ranges but the lowest
-- role: foldlog_projection
with share as materialized (
    select least(100, $4::bigint * 100.0 / greatest(1, $3::bigint))::real as percent
),
sampled as materialized (
    select e.aggregate_id
    from foldlog.events e tablesample system ((select percent from share))
),
cut as materialized (
    select greatest(1, least($1::bigint, (count(*) * 100 / (select percent from share))::bigint / $2::bigint)) as ranges
    from sampled
)
select distinct boundary as id
from unnest((
    select percentile_disc((
        select array_agg(n::double precision / ranges) from cut, generate_series(1, ranges - 1) as n
    )) within group (order by aggregate_id)
    from sampled
)) as boundary
where boundary is not null
order by id
