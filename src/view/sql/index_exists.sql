-- Whether there is an index of this name.
-- $1 text
-- returns bool
-- role: foldlog_query
select to_regclass($1) is not null
