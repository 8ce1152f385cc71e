-- Puts a schema in front of the search path until the transaction ends.
-- $1 text the schema's name
-- role: owner
select set_config('search_path', concat_ws(', ', quote_ident($1), nullif(current_setting('search_path'), '')), true)
