-- Whether all slices of a generation are finished, and it is not marked as filled yet.
-- $1 text lock domain
-- returns bool
-- role: foldlog_projection
-- uses: slices_pkey views_pkey
select exists (select from foldlog.views g where g.name = $1 and g.state = 'filling' and g.filled_at is null)
    and exists (select from foldlog.slices s where s.lock_domain = $1)
    and not exists (select from foldlog.slices s where s.lock_domain = $1 and not s.is_finished)
