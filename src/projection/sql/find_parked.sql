-- The parked aggregates, those first whose turn came first.
-- $1 text lock domain
-- $2 bool only those whose next try is due
-- $3 bigint at most so many
-- returns rows uuid
-- role: foldlog_projection
-- uses: parked_lock_domain_next_try_idx
select aggregate_id
from foldlog.parked
where lock_domain = $1
    and (not $2 or next_try <= statement_timestamp())
order by next_try, aggregate_id
limit $3
