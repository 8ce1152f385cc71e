-- Locks the lanes of the generations that a reprojection replaces: the live one, and the one that serves its definition.
-- $1 text the projection
-- $2 text the hash of the definition
-- role: foldlog_projection
-- uses: views_projection_idx settled_pkey
select first
from foldlog.settled
where lock_domain = any (array(
    select name
    from foldlog.views
    where projection = $1
        and (state = 'live' or serves and definition_hash = $2)
))
order by lock_domain, first
for update
