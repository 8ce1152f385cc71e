-- Moves the mark of a slice, which this transaction has locked.
-- $1 text lock domain
-- $2 uuid the slice
-- $3 uuid the aggregate of the last event that is done
-- $4 integer its version
-- $5 bool whether the slice is finished
-- $6 bigint how many aggregates were folded
-- $7 bigint how many events were folded
-- role: foldlog_projection
-- uses: slices_pkey
update foldlog.slices
set done = $3,
    done_version = $4,
    is_finished = $5,
    aggregates = aggregates + $6,
    events = events + $7
where lock_domain = $1
    and first = $2
