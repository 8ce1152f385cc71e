-- The events that an operator has skipped in a projection, of some aggregates.
-- $1 text lock domain
-- $2 uuid[] the aggregates
-- returns rows (aggregate_id uuid, version integer)
-- role: foldlog_query
-- uses: skipped_pkey
select skip.aggregate_id, skip.version
from unnest($2::uuid[]) as wanted (id)
cross join lateral (
    select s.aggregate_id, s.version
    from foldlog.skipped s
    where s.lock_domain = $1
        and s.aggregate_id = wanted.id
    order by s.version
    limit 2147483647
) skip
