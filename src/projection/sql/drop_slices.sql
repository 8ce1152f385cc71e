-- Forgets how far a generation is filled. It waits for the workers that fill slices.
-- $1 text lock domain
-- role: foldlog_projection
-- uses: slices_pkey
delete from foldlog.slices
where lock_domain = $1
