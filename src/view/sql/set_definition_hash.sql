-- Identifies the definition of a generation that an earlier build recorded.
-- $1 text the lock domain of the generation
-- $2 text the hash of its definition
-- role: owner
-- uses: views_pkey
update foldlog.views
set definition_hash = $2
where name = $1
