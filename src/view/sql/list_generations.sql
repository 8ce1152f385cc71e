-- The generations of a view.
-- $1 text the projection
-- returns rows (name text, definition text, definition_hash text or null, fold_hash text or null, state text, serves bool, newest_number integer)
-- role: foldlog_projection
-- uses: views_projection_idx
select name, definition, definition_hash, fold_hash, state, serves, newest_number
from foldlog.views
where projection = $1
