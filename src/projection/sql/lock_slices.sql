-- Waits for the workers that fill slices of a generation, and lets none take another one.
-- $1 text lock domain
-- role: foldlog_projection
-- uses: slices_pkey
select first
from foldlog.slices
where lock_domain = $1
order by first
for update
