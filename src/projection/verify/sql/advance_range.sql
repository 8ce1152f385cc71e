-- Counts what was found in a part of a range, and moves the range to the end of this part, unless another invocation has counted it.
-- $1 text the projection
-- $2 uuid the name of the verification
-- $3 uuid the range
-- $4 uuid where the part begins
-- $5 uuid where it ends: the next aggregate to check; null if the range is finished
-- $6 bigint aggregates checked
-- $7 bigint aggregates that differ
-- $8 bigint aggregates repaired
-- returns a row bigint: how many aggregates differed before, or no row if it was not counted
-- role: foldlog_projection
-- uses: verify_ranges_pkey verifications_pkey
with moved as (
    update foldlog.verify_ranges r
    set next = coalesce($5::uuid, r.next),
        is_finished = $5::uuid is null,
        taken_at = clock_timestamp()
    where r.projection = $1
        and r.first = $3
        and r.next = $4
        and not r.is_finished
        and exists (select from foldlog.verifications v where v.projection = $1 and v.run = $2)
    returning true
)
update foldlog.verifications v
set verified_at = clock_timestamp(),
    aggregates = v.aggregates + $6,
    differ = v.differ + $7,
    repaired = v.repaired + $8
where v.projection = $1
    and v.run = $2
    and exists (select from moved)
returning v.differ - $7
