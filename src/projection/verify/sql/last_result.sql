-- The result of the last verification of a projection, or what it has found so far.
-- $1 text the projection
-- returns a row (verified_at timestamptz, started_at timestamptz, aggregates bigint, estimated_aggregates bigint or null, differ bigint, orphan_claims bigint, removed_claims bigint, repaired bigint, repairs bool, complete bool), or no row
-- role: foldlog_query
-- uses: verifications_pkey
select
    verified_at, started_at, aggregates, estimated_aggregates, differ, orphan_claims, removed_claims, repaired, repairs, complete
from foldlog.verifications
where projection = $1
