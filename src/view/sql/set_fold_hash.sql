-- Identifies the fold of a generation that an earlier build recorded.
-- $1 text the lock domain of the generation
-- $2 text the hash of the fold
-- role: owner
-- uses: views_pkey
update foldlog.views
set fold_hash = $2
where name = $1
    and fold_hash is null
