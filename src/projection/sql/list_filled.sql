-- The generations of this build's definition that are filled and not live yet.
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
    and filled_at is not null
order by name
