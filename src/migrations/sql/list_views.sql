-- The names of the views, which are the names of their tables.
-- returns rows text
-- role: foldlog_query
select name
from foldlog.views
