-- Counts the next event of a parked aggregate as applied, without its effect: claims it, raises the version of the view row, and
-- records who skipped it, for all generations of the projection. The aggregate stays parked at the event after it, and its retry is due.
-- Nothing happens unless all events before it are folded. The aggregate is locked by lock_parked_event.sql.
-- $1 text lock domain
-- $2 uuid aggregate id
-- $3 uuid event id
-- $4 text why it is skipped
-- $5 text who skips it, or null
-- returns integer the version of the event, or no row
-- role: foldlog_projection
-- uses: events_pkey events_aggregate_id_version_key locker_pkey parked_pkey {table}_pkey
with skipped as materialized (
    select e.version
    from foldlog.events e
    left join lateral (
        select v.version
        from foldlog."{table}" v
        where v.id = e.aggregate_id
        limit 1
    ) viewed on true
    where e.id = $3
        and e.aggregate_id = $2
        and case
            when viewed.version is not null then viewed.version = e.version - 1
            when e.version = 1 then true
            else (
                select exists (
                    select
                    from (
                        select p.id, p.aggregate_id
                        from foldlog.events p
                        where p.aggregate_id = e.aggregate_id
                            and p.version = e.version - 1
                        limit 1
                    ) before
                    cross join lateral (
                        select
                        from foldlog.locker l
                        where l.event_id = before.id
                            and l.aggregate_id = before.aggregate_id
                            and l.lock_domain = $1
                        limit 1
                    ) claim
                )
            )
        end
),
claimed as (
    insert into foldlog.locker (event_id, aggregate_id, lock_domain)
    select $3, $2, $1
    from skipped
),
raised as (
    update foldlog."{table}" v
    set version = skipped.version
    from skipped
    where v.id = $2
),
recorded as (
    insert into foldlog.skipped (projection, aggregate_id, event_id, version, error, reason, actor)
    select split_part($1, '#', 1), $2, $3, skipped.version, p.error, $4, $5
    from skipped, foldlog.parked p
    where p.lock_domain = $1
        and p.aggregate_id = $2
    on conflict do nothing
),
advanced as (
    update foldlog.parked p
    set version = skipped.version + 1,
        next_try = statement_timestamp()
    from skipped
    where p.lock_domain = $1
        and p.aggregate_id = $2
)
select version
from skipped
