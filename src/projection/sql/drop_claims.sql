-- Removes the claims of a dropped generation from the next pages.
-- $1 text lock domain
-- $2 bigint how many pages
-- returns bool: whether these were the last pages; null when the generation is not dropped
-- role: foldlog_projection
select foldlog.drop_claims($1, $2)
