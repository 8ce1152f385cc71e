-- Removes the claims of a dropped generation from a range of pages.
-- $1 text lock domain
-- $2 bigint the first page
-- $3 bigint how many pages
-- returns a row (bool: whether these were the last pages), or no row when the generation is not dropped
-- role: foldlog_projection
-- uses: views_pkey
with gone as materialized (
    select
    from foldlog.views
    where name = $1
        and state = 'dropped'
),
removed as (
    delete from foldlog.locker
    where ctid >= format('(%s,0)', $2::bigint)::tid
        and ctid < format('(%s,0)', least($2::bigint + $3::bigint, 4294967295))::tid
        and lock_domain = $1
        and exists (select from gone)
)
select pg_relation_size('foldlog.locker') <= ($2 + $3) * current_setting('block_size')::bigint
from gone
