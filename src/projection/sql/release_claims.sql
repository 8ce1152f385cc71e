-- Releases claims that this transaction made, each found by its key, because a join may hash all claims. A worker that waits for
-- one of them gets it when this transaction commits.
-- $1 text lock domain
-- $2 uuid[] event ids
-- $3 uuid[] their aggregate ids
-- role: foldlog_projection
-- uses: locker_pkey
delete from foldlog.locker
where ctid = any (array(
    select claim.ctid
    from unnest($2::uuid[], $3::uuid[]) as released (event_id, aggregate_id)
    cross join lateral (
        select l.ctid
        from foldlog.locker l
        where l.event_id = released.event_id
            and l.aggregate_id = released.aggregate_id
            and l.lock_domain = $1
        limit 1
    ) claim
))
