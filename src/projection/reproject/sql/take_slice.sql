-- Locks a slice that is not finished and that no other worker fills, unless the generation is dropped.
-- $1 text lock domain
-- returns a row (first uuid, last uuid, last_version integer, done uuid, done_version integer, frozen text), or no row
-- role: foldlog_projection
-- uses: slices_pkey settled_pkey views_pkey
select s.first, s.last, s.last_version, s.done, s.done_version, c.snapshot::text as frozen
from foldlog.slices s
join foldlog.settled c on c.lock_domain = $1 || ' fill'
where s.lock_domain = $1
    and not s.is_finished
    and exists (select from foldlog.views g where g.name = $1 and g.state = 'filling')
order by s.first
limit 1
for update of s skip locked
