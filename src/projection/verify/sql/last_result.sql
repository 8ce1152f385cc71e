-- The result of the last verification of a projection.
-- $1 text the projection
-- returns a row (verified_at timestamptz, aggregates bigint, differ bigint, orphan_claims bigint, repaired bigint, complete bool), or no row
-- role: foldlog_query
-- uses: verifications_pkey
select verified_at, aggregates, differ, orphan_claims, repaired, complete
from foldlog.verifications
where projection = $1
