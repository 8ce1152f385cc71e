-- Creates the lane of a generation for which nothing is settled, unless it is dropped, or not filled yet: then its first lane is the one
-- that has settled C, and a worker that knew the generation as live works on a log from a dump in which it is not.
-- $1 text lock domain
-- role: foldlog_projection
-- uses: settled_pkey views_pkey
insert into foldlog.settled (lock_domain)
select $1
where exists (select from foldlog.views g where g.name = $1 and g.state <> 'dropped' and (g.state <> 'filling' or g.filled_at is not null))
on conflict do nothing
