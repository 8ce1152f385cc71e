-- Locks the lanes of a projection that no other worker holds.
-- $1 text lock domain
-- returns rows (first smallint, last smallint, turn bigint, writer text, snapshot text, txid text or null, position bigint)
-- role: foldlog_projection
-- uses: settled_pkey
select first, last, turn, xmin::text as writer, snapshot::text as snapshot, txid::text as txid, position
from foldlog.settled
where lock_domain = $1
order by first
for update skip locked
