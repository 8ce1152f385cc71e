-- Parks the aggregates of a slice that could not be folded. Those that an earlier part of the slice has parked stay as they are.
-- $1 text lock domain
-- $2 uuid[] aggregate ids
-- $3 uuid[] the events that could not be folded
-- $4 integer[] their versions
-- $5 text[] why
-- $6 text[] what kind of failure
-- role: foldlog_projection
-- uses: parked_pkey
insert into foldlog.parked (lock_domain, aggregate_id, event_id, version, error, class, next_try)
select $1, aggregate_id, event_id, version, error, class, statement_timestamp() + interval '5 seconds'
from unnest($2::uuid[], $3::uuid[], $4::integer[], $5::text[], $6::text[])
    as failed (aggregate_id, event_id, version, error, class)
order by aggregate_id
on conflict do nothing
