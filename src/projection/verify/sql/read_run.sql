-- What a verification has found so far.
-- $1 text the projection
-- $2 uuid the name of the verification
-- returns a row (aggregates bigint, differ bigint, orphan_claims bigint, removed_claims bigint, repaired bigint, complete bool), or no row if another verification has begun
-- role: foldlog_projection
-- uses: verifications_pkey
select aggregates, differ, orphan_claims, removed_claims, repaired, complete
from foldlog.verifications
where projection = $1
    and run = $2
