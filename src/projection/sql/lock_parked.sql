-- Takes a parked aggregate for a retry. Excludes every pass that relies on its being parked, and other retries.
-- $1 text lock domain
-- $2 uuid aggregate id
-- returns integer the version at which it is parked, or no row when it is not parked any more
-- role: foldlog_projection
-- uses: parked_pkey
select version
from foldlog.parked
where lock_domain = $1
    and aggregate_id = $2
for update
