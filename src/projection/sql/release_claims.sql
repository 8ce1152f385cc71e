-- Releases claims that this transaction made. A worker that waits for one of them gets it when this transaction commits.
-- $1 text lock domain
-- $2 uuid[] event ids
-- $3 uuid[] their aggregate ids
-- role: foldlog_projection
-- uses: locker_pkey
delete from foldlog.locker l
using unnest($2::uuid[], $3::uuid[]) as given_back (event_id, aggregate_id)
where l.event_id = given_back.event_id
    and l.aggregate_id = given_back.aggregate_id
    and l.lock_domain = $1
