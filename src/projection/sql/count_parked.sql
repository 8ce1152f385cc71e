-- How many aggregates are parked.
-- $1 text lock domain
-- returns bigint
-- role: foldlog_projection
-- uses: parked_pkey
select count(*)
from foldlog.parked
where lock_domain = $1
