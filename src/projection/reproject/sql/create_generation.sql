-- Finds or creates the generation that a reprojection fills.
-- $1 text the projection
-- $2 text the hash of the definition
-- $3 text the hash of the fold
-- returns text: its lock domain; null: `migrate` has not created the view with this definition
-- role: foldlog_projection
select foldlog.create_generation($1, $2, $3)
