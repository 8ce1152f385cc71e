-- Which of these aggregates are parked.
-- $1 text lock domain
-- $2 uuid[] aggregate ids
-- returns rows uuid
-- role: foldlog_projection
-- uses: parked_pkey
select aggregate_id
from foldlog.parked
where lock_domain = $1
    and aggregate_id = any ($2)
