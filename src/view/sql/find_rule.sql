-- The table that an index of this name in foldlog's schema is on, and the definition of the set rule that it was created for: null
-- if it enforces nothing.
-- $1 text the index's name
-- returns a row (on_table text, definition text or null)
-- role: foldlog_query
select
    t.relname::text as on_table,
    case when i.indisunique and i.indisvalid then obj_description(c.oid, 'pg_class') end as definition
from pg_class c
join pg_index i on i.indexrelid = c.oid
join pg_class t on t.oid = i.indrelid
where c.relname = $1::text
    and c.relnamespace = (select relnamespace from pg_class where oid = 'foldlog.views'::regclass)
