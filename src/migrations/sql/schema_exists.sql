-- Whether a schema exists.
-- $1 text the schema's name
-- returns bool
-- role: owner
select to_regnamespace(quote_ident($1)) is not null
