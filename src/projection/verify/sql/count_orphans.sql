-- Counts the claims of events that are not in the log, in a range of pages, and removes them on request.
-- $1 text lock domain
-- $2 bigint the first page
-- $3 bigint how many pages
-- $4 bool whether to remove them
-- returns a row (orphans bigint, is_last bool)
-- role: foldlog_projection
-- uses: events_pkey
with orphan as materialized (
    select l.ctid as place
    from foldlog.locker l
    left join lateral (
        select true as exists
        from foldlog.events e
        where e.id = l.event_id
            and e.aggregate_id = l.aggregate_id
        limit 1
    ) event on true
    where l.ctid >= format('(%s,0)', $2::bigint)::tid
        and l.ctid < format('(%s,0)', least($2::bigint + $3::bigint, 4294967295))::tid
        and l.lock_domain = $1
        and event.exists is null
),
removed as (
    delete from foldlog.locker
    where $4
        and ctid = any (array(select place from orphan))
)
select
    count(*) as orphans,
    pg_relation_size('foldlog.locker') <= ($2 + $3) * current_setting('block_size')::bigint as is_last
from orphan
