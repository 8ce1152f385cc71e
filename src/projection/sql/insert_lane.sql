-- Creates the lane of a projection for which nothing is settled.
-- $1 text lock domain
-- role: foldlog_projection
-- uses: settled_pkey
insert into foldlog.settled (lock_domain)
values ($1)
on conflict do nothing
