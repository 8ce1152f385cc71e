-- The revision of an aggregate in a projection: SHA-256 over the ids of its claimed events in the order of their versions.
-- $1 uuid the aggregate
-- $2 text lock domain
-- returns a row (revision text), null if no event is claimed
-- role: foldlog_query
-- uses: events_aggregate_id_version_key locker_pkey
select encode(sha256(string_agg(uuid_send(e.id), ''::bytea order by e.version)), 'hex') as revision
from foldlog.events e
cross join lateral (
    select true as is
    from foldlog.locker l
    where l.event_id = e.id
        and l.aggregate_id = e.aggregate_id
        and l.lock_domain = $2
    limit 1
) claim
where e.aggregate_id = $1
