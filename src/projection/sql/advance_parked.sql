-- Remembers how far a retry has folded a long chain. The aggregate stays parked, and its retry stays due.
-- $1 text lock domain
-- $2 uuid aggregate id
-- $3 integer the version to continue with
-- role: foldlog_projection
-- uses: parked_pkey
update foldlog.parked
set version = $3
where lock_domain = $1
    and aggregate_id = $2
