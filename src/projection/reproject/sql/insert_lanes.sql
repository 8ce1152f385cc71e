-- Creates the lanes of the serving generations of a projection that have none.
-- $1 text the projection
-- role: foldlog_projection
-- uses: views_projection_idx settled_pkey
insert into foldlog.settled (lock_domain)
select name
from foldlog.views
where projection = $1
    and (state = 'live' or serves)
order by name
on conflict do nothing
