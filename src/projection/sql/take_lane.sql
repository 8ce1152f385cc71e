-- Locks the free lane that is furthest behind, and freezes C. The statement's snapshot is older than its transaction id, so C
-- does not contain this transaction.
-- $1 text lock domain
-- $2 smallint[] the first slots of lanes not to lock
-- $3 bool also a lane that is settled to the end of the log
-- returns a row (first smallint, frozen text), or no row when other workers have locked all of these lanes, or the generation is dropped
-- role: foldlog_projection
-- uses: settled_pkey events_txid_position_idx views_pkey
with log as materialized (
    select foldlog.log_snapshot() as frozen
),
wanted as materialized (
    select s.first
    from foldlog.settled s
    cross join log
    where s.lock_domain = $1
        and s.first <> all ($2)
        and exists (select from foldlog.views g where g.name = $1 and g.state <> 'dropped')
        and (
            $3
            or exists (
                select
                from foldlog.events e
                where (e.txid, e.position) > (coalesce(s.txid, pg_snapshot_xmax(s.snapshot)), s.position)
            )
            or exists (
                select
                from pg_snapshot_xip(s.snapshot) as late (txid)
                where pg_visible_in_snapshot(late.txid, log.frozen)
            )
        )
)
select s.first, log.frozen::text as frozen
from foldlog.settled s
join wanted on wanted.first = s.first
cross join log
where s.lock_domain = $1
order by pg_snapshot_xmax(s.snapshot), pg_snapshot_xmin(s.snapshot), s.position, s.first
limit 1
for update of s skip locked
