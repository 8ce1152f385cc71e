-- The definition that a view was created from.
-- $1 text the view's name
-- returns text
-- role: foldlog_projection
-- uses: views_pkey
select definition
from foldlog.views
where name = $1
