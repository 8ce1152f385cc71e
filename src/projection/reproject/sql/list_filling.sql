-- The generations that reprojections of this build's definition fill.
-- $1 text the projection
-- $2 text the hash of the definition
-- returns rows text
-- role: foldlog_projection
-- uses: views_projection_idx
select name
from foldlog.views
where projection = $1
    and definition_hash = $2
    and state = 'filling'
order by name
