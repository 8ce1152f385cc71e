-- The columns of a table.
-- $1 text the table's name
-- returns rows text
-- role: foldlog_query
select attname::text
from pg_attribute
where attrelid = to_regclass($1)
    and attnum > 0
    and not attisdropped
