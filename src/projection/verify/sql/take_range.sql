-- Takes a range that is not finished, one that no other invocation seems to work on if there is one. The row stays unlocked afterwards:
-- if two invocations check the same aggregates, only one of them can count them.
-- $1 text the projection
-- $2 uuid the name of the verification
-- $3 uuid[] the ranges that this invocation works on
-- returns a row (first uuid, last uuid, next uuid), or no row if the others are finished
-- role: foldlog_projection
-- uses: verify_ranges_pkey verifications_pkey
update foldlog.verify_ranges r
set taken_at = clock_timestamp()
where r.projection = $1
    and r.first = (
        select s.first
        from foldlog.verify_ranges s
        where s.projection = $1
            and not s.is_finished
            and s.first <> all ($3::uuid[])
            and exists (select from foldlog.verifications v where v.projection = $1 and v.run = $2)
        order by s.taken_at nulls first, s.first
        limit 1
        for update of s
    )
returning r.first, r.last, r.next
