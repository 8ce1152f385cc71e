-- Compares a page of rows of two generations, all in one snapshot. A row that only one of them has differs if the other one has claimed
-- its last event, and is behind if it has not.
-- $1 uuid from this id on
-- $2 uuid without this id, which ended the page before; or null
-- $3 bigint at most this many rows
-- $4 text the lock domain of the live generation
-- $5 text the lock domain of the new generation
-- returns rows (id, version, is_behind, differs, live json or null, new json or null)
-- role: foldlog_projection
-- uses: {table}_pkey events_aggregate_id_version_key locker_pkey
with page as materialized (
    select id
    from (
        (
            select v.id
            from foldlog."{other}" v
            where v.id >= $1
                and v.id is distinct from $2
            order by v.id
            limit $3
        )
        union
        (
            select v.id
            from foldlog."{table}" v
            where v.id >= $1
                and v.id is distinct from $2
            order by v.id
            limit $3
        )
    ) ids
    order by id
    limit $3
),
pair as materialized (
    select
        page.id,
        live.version as live_version,
        new.version as new_version,
        live.fields as live,
        new.fields as new,
        case
            when live.version is not null and new.version is not null then live.version <> new.version
            else not (
                select exists (
                    select
                    from (
                        select e.id, e.aggregate_id
                        from foldlog.events e
                        where e.aggregate_id = page.id
                            and e.version = coalesce(live.version, new.version)
                        limit 1
                    ) e
                    cross join lateral (
                        select
                        from foldlog.locker l
                        where l.event_id = e.id
                            and l.aggregate_id = e.aggregate_id
                            and l.lock_domain = case when live.version is null then $4 else $5 end
                        limit 1
                    ) l
                )
            )
        end as is_behind
    from page
    left join lateral (
        select v.version, to_jsonb(v.*) - 'id' - 'version' as fields
        from foldlog."{other}" v
        where v.id = page.id
        limit 1
    ) live on true
    left join lateral (
        select v.version, to_jsonb(v.*) - 'id' - 'version' as fields
        from foldlog."{table}" v
        where v.id = page.id
        limit 1
    ) new on true
)
select
    id,
    coalesce(new_version, live_version) as version,
    is_behind,
    live is distinct from new as differs,
    case when live is distinct from new then live::json end as live,
    case when live is distinct from new then new::json end as new
from pair
order by id
