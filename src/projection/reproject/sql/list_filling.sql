-- The generations that a cancel removes: those that reprojections fill, of whatever definition, the one that waits for a reprojection by this
-- build, and those that were cancelled before and are not removed yet.
-- $1 text the projection
-- $2 text the hash of this build's definition
-- returns rows text
-- role: foldlog_projection
-- uses: views_projection_idx slices_pkey
select name
from foldlog.views
where projection = $1
    and (
        state = 'filling' and (
            definition_hash = $2
            or filled_at is not null
            or (select exists (select from (select from foldlog.slices s where s.lock_domain = name limit 1) s))
        )
        or state = 'dropped' and retired_at is null
    )
order by name
