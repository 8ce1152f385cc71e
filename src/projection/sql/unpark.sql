-- The aggregate has caught up.
-- $1 text lock domain
-- $2 uuid aggregate id
-- role: foldlog_projection
-- uses: parked_pkey
delete from foldlog.parked
where lock_domain = $1
    and aggregate_id = $2
