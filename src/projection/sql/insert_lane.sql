-- Creates the lane of a generation for which nothing is settled, unless it is dropped.
-- $1 text lock domain
-- role: foldlog_projection
-- uses: settled_pkey views_pkey
insert into foldlog.settled (lock_domain)
select $1
where exists (select from foldlog.views g where g.name = $1 and g.state <> 'dropped')
on conflict do nothing
