-- Makes a filled generation the live one; false if it is not filled, lacks an index, or is not there any more.
-- $1 text lock domain
-- returns bool
-- role: foldlog_projection
select foldlog.go_live($1)
