-- Removes the differences of an earlier verification.
-- $1 text the projection
-- role: foldlog_projection
-- uses: differences_pkey
delete from foldlog.differences
where projection = $1
