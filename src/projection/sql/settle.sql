-- Makes a pass's frozen snapshot the settled one, unless a later one is there already.
-- $1 text lock domain
-- $2 text the snapshot C
-- role: foldlog_projection
-- uses: settled_pkey
insert into foldlog.settled (lock_domain, snapshot)
values ($1, $2::text::pg_snapshot)
on conflict (lock_domain) do update
set snapshot = excluded.snapshot, settled_at = excluded.settled_at
where pg_snapshot_xmax(settled.snapshot) < pg_snapshot_xmax(excluded.snapshot)
    or (
        pg_snapshot_xmax(settled.snapshot) = pg_snapshot_xmax(excluded.snapshot)
        and pg_snapshot_xmin(settled.snapshot) < pg_snapshot_xmin(excluded.snapshot)
    )
