-- The live generation of a projection.
-- $1 text the projection
-- returns a row (name text)
-- role: foldlog_projection
-- uses: views_projection_key
select name
from foldlog.views
where projection = $1
    and state = 'live'
