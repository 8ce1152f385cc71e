-- The columns of a table in foldlog's schema.
-- $1 text the table's name
-- returns rows text
-- role: foldlog_query
select attname::text
from pg_attribute
join pg_class on pg_class.oid = attrelid
where relname = $1::text
    and relnamespace = (select relnamespace from pg_class where oid = 'foldlog.views'::regclass)
    and attnum > 0
    and not attisdropped
