-- What a page of an aggregate's history needs beside the events. The revision is the hash of the projection's claims: SHA-256 over
-- the ids of the claimed events in the order of their versions.
-- $1 uuid the aggregate
-- $2 smallint the first event type
-- $3 smallint the event type before which to end
-- $4 boolean whether the revision is wanted; it costs a look at each event
-- $5 text the projection
-- $6 text the hash of its definition; of several generations the one that serves this definition counts, otherwise the live one
-- returns a row (newest integer, is_own bool, revision text), none if the aggregate has no event; `is_own`: its first event is of these types
-- role: foldlog_query
-- uses: events_aggregate_id_version_key locker_pkey
select newest.version as newest, oldest.is_own, claims.revision
from (
    select e.version
    from foldlog.events e
    where e.aggregate_id = $1
    order by e.version desc
    limit 1
) newest
cross join lateral (
    select e.type_id >= $2 and e.type_id < $3 as is_own
    from foldlog.events e
    where e.aggregate_id = $1
    order by e.version
    limit 1
) oldest
left join lateral (
    select encode(sha256(string_agg(uuid_send(e.id), ''::bytea order by e.version)), 'hex') as revision
    from foldlog.events e
    cross join lateral (
        select true as is
        from foldlog.locker l
        where l.event_id = e.id
            and l.aggregate_id = e.aggregate_id
            and l.lock_domain = (
                select v.name
                from foldlog.views v
                where v.projection = $5
                    and (v.serves and v.definition_hash = $6 or v.state = 'live')
                order by v.serves and v.definition_hash = $6 desc
                limit 1
            )
        limit 1
    ) claim
    where e.aggregate_id = $1
        and $4
) claims on true
