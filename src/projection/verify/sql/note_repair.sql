-- Lets the inline folds that have read rows of this generation before read them again.
-- $1 text lock domain
-- returns bool: false if the generation is dropped
-- role: foldlog_projection
select foldlog.note_repair($1)
