-- Locks the free lane that is furthest behind, and freezes C. The statement's snapshot is older than its transaction id, so C
-- does not contain this transaction.
-- $1 text lock domain
-- $2 smallint[] the first slots of the lanes that have no new events
-- returns a row (first smallint, frozen text), or no row when every other lane is locked by another worker
-- role: foldlog_projection
-- uses: settled_pkey
select first, foldlog.log_snapshot()::text as frozen
from foldlog.settled
where lock_domain = $1
    and first <> all ($2)
order by pg_snapshot_xmax(snapshot), pg_snapshot_xmin(snapshot), position, first
limit 1
for update skip locked
