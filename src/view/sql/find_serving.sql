-- The generation that serves readers whose code has this definition of the view; if there is none, the live one.
-- $1 text the projection
-- $2 text the hash of the definition
-- returns a row (name text, serves bool), or no row when the view was never defined
-- role: foldlog_query
-- uses: views_projection_idx
select name, serves and definition_hash = $2 as serves
from foldlog.views
where projection = $1
    and (serves and definition_hash = $2 or state = 'live')
order by serves and definition_hash = $2 desc
limit 1
