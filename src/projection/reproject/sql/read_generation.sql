-- What a reprojection has done for its generation.
-- $1 text lock domain
-- returns a row (fold_hash text or null, is_filled bool, is_planned bool, is_frozen bool), or no row when the generation was cancelled
-- role: foldlog_projection
-- uses: views_pkey slices_pkey settled_pkey
select
    fold_hash,
    filled_at is not null as is_filled,
    exists (select from foldlog.slices s where s.lock_domain = $1) as is_planned,
    exists (select from foldlog.settled s where s.lock_domain = $1 || ' fill') as is_frozen
from foldlog.views
where name = $1
    and state in ('filling', 'live')
