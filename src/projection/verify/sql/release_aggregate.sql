-- Releases all claims of an aggregate.
-- $1 text lock domain
-- $2 uuid aggregate id
-- role: foldlog_projection
-- uses: events_aggregate_id_version_key locker_pkey
delete from foldlog.locker
where ctid = any (array(
    select claim.ctid
    from foldlog.events e
    cross join lateral (
        select l.ctid
        from foldlog.locker l
        where l.event_id = e.id
            and l.aggregate_id = e.aggregate_id
            and l.lock_domain = $1
        limit 1
    ) claim
    where e.aggregate_id = $2
))
