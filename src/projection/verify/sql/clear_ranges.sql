-- Removes the ranges of an earlier verification.
-- $1 text the projection
-- role: foldlog_projection
-- uses: verify_ranges_pkey
delete from foldlog.verify_ranges
where projection = $1
