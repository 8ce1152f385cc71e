-- Settles C for a generation whose slices are finished, in a lane over all slots. It may have one already: in a dump that was restored
-- under a worker of an earlier build that knew the generation as live, the worker found no lane and created it. If workers have split it,
-- each half keeps its slots: the lower one is settled anew, which is safe with any C below it, because what is read again is claimed; the
-- upper one has settled what its worker has folded, and reads the rest of the log itself.
-- $1 text lock domain
-- returns bool: whether it did
-- role: foldlog_projection
-- uses: slices_pkey settled_pkey views_pkey
with frozen as (
    delete from foldlog.settled
    where lock_domain = $1 || ' fill'
        and not exists (select from foldlog.slices where lock_domain = $1 and not is_finished)
        and exists (select from foldlog.slices where lock_domain = $1)
        and exists (select from foldlog.views g where g.name = $1 and g.state = 'filling')
    returning snapshot
),
lane as (
    insert into foldlog.settled (lock_domain, snapshot)
    select $1, snapshot
    from frozen
    on conflict (lock_domain, first) do update
    set snapshot = excluded.snapshot, txid = null, position = 0, turn = settled.turn + 1
    returning 1
)
select exists (select from lane)
