-- A page of the parked aggregates of a projection.
-- $1 text lock domain
-- $2 uuid the aggregate before the page, or null
-- $3 bigint at most so many
-- returns rows (aggregate_id, event_id, version, class, error, attempts, parked_at, next_try, newest integer)
-- role: foldlog_query
-- uses: parked_pkey events_aggregate_id_version_key
select
    p.aggregate_id,
    p.event_id,
    p.version,
    p.class,
    p.error,
    p.attempts,
    p.parked_at,
    p.next_try,
    newest.version as newest
from (
    select aggregate_id, event_id, version, class, error, attempts, parked_at, next_try
    from foldlog.parked
    where lock_domain = $1
        and aggregate_id >= coalesce($2::uuid, '00000000-0000-0000-0000-000000000000')
        and aggregate_id is distinct from $2
    order by aggregate_id
    limit $3
) p
left join lateral (
    select e.version
    from foldlog.events e
    where e.aggregate_id = p.aggregate_id
    order by e.version desc
    limit 1
) newest on true
order by p.aggregate_id
