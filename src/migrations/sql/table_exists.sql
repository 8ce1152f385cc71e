-- Whether a table of this schema exists.
-- $1 text the schema's name
-- $2 text the table's name
-- returns bool
-- role: foldlog_query
select to_regclass(quote_ident($1) || '.' || quote_ident($2)) is not null
