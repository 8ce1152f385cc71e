-- The aggregates that are parked in a generation at an event that one of the generations which it replaces has applied.
-- $1 text lock domain
-- $2 text the projection
-- $3 text the hash of the definition
-- returns rows (aggregate_id uuid, event_id uuid, version integer, class text, total bigint): one of them, and how many there are; or no row
-- role: foldlog_projection
-- uses: views_projection_idx parked_lock_domain_next_try_idx events_aggregate_id_version_key locker_pkey
with replaced as materialized (
    select name
    from foldlog.views
    where projection = $2
        and name <> $1
        and (state = 'live' or serves and definition_hash = $3)
)
select p.aggregate_id, e.id as event_id, p.version, p.class, count(*) over () as total
from foldlog.parked p
cross join lateral (
    select e.id, e.aggregate_id
    from foldlog.events e
    where e.aggregate_id = p.aggregate_id
        and e.version = p.version
    limit 1
) e
cross join lateral (
    select
    from replaced r
    cross join lateral (
        select
        from foldlog.locker l
        where l.event_id = e.id
            and l.aggregate_id = e.aggregate_id
            and l.lock_domain = r.name
        limit 1
    ) l
    limit 1
) ahead
where p.lock_domain = $1
limit 1
