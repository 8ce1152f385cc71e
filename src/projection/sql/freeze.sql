-- Freezes a pass: the snapshot C up to which it will look, and the snapshot up to which it need not look again.
-- $1 text lock domain
-- returns a row (frozen text, settled text or null, behind bool)
-- role: foldlog_projection
-- uses: settled_pkey events_txid_position_idx
select
    foldlog.log_snapshot()::text as frozen,
    (select snapshot::text from foldlog.settled where lock_domain = $1) as settled,
    foldlog.log_is_behind() as behind
