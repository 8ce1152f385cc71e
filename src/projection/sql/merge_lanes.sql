-- Replaces the lanes of a projection, which this transaction has locked, by one lane.
-- $1 text lock domain
-- $2 bigint its turn
-- $3 text the settled snapshot
-- $4 text the begun transaction, or null
-- $5 bigint the position up to which it is settled
-- role: foldlog_projection
-- uses: settled_pkey
with upper as (
    delete from foldlog.settled
    where lock_domain = $1
        and first > 0
)
update foldlog.settled
set last = 255,
    turn = $2,
    snapshot = $3::text::pg_snapshot,
    txid = $4::text::xid8,
    position = $5,
    settled_at = statement_timestamp()
where lock_domain = $1
    and first = 0
