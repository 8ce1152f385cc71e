-- The columns of the table that a name means in the search path.
-- $1 text the table's name
-- returns rows text
-- role: foldlog_query
select attname::text
from pg_attribute
where attrelid = to_regclass(quote_ident($1))
    and attnum > 0
    and not attisdropped
