-- Whether there is an index of this name.
-- $1 text the index's name
-- returns bool
-- role: foldlog_query
select to_regclass($1) is not null
