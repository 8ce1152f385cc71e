-- The generations of a projection, the newest first, with how far each was filled.
-- $1 text the projection
-- $2 text the hash of this build's definition
-- $3 text the hash of this build's fold
-- returns rows (name text, state text, serves bool, is_current bool or null, created_at timestamptz, slices bigint, slices_done bigint, aggregates bigint, events bigint)
-- role: foldlog_query
-- uses: views_projection_idx slices_pkey
select
    g.name,
    case when g.state = 'filling' and g.filled_at is not null then 'filled' else g.state end as state,
    g.serves and g.definition_hash is not distinct from $2 as serves,
    g.definition_hash = $2 and g.fold_hash = $3 as is_current,
    g.created_at,
    filled.slices,
    filled.slices_done,
    filled.aggregates,
    filled.events
from foldlog.views g
cross join lateral (
    select
        count(*) as slices,
        count(*) filter (where s.is_finished) as slices_done,
        coalesce(sum(s.aggregates), 0)::bigint as aggregates,
        coalesce(sum(s.events), 0)::bigint as events
    from foldlog.slices s
    where s.lock_domain = g.name
) filled
where g.projection = $1
order by coalesce(nullif(split_part(g.name, '#', 2), '')::integer, 1) desc
