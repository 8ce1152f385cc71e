-- A retry failed again: the next one comes after twice the time, an hour at most.
-- $1 text lock domain
-- $2 uuid aggregate id
-- $3 uuid the event that could not be folded, or null: the same as before
-- $4 integer its version, or null
-- $5 text why
-- $6 text what kind of failure
-- role: foldlog_projection
-- uses: parked_pkey
update foldlog.parked
set event_id = coalesce($3, event_id),
    version = coalesce($4, version),
    error = $5,
    class = $6,
    attempts = attempts + 1,
    next_try = statement_timestamp()
        + least(interval '1 hour', interval '5 seconds' * power(2, least(attempts, 20)))
where lock_domain = $1
    and aggregate_id = $2
