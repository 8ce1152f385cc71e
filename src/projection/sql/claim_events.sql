-- Claims given events; waits for a transaction that has claimed one of them and is still open.
-- $1 text lock domain
-- $2 uuid[] event ids
-- $3 uuid[] their aggregate ids
-- returns rows (event_id, aggregate_id): those claimed now
-- role: foldlog_projection
-- uses: locker_pkey
insert into foldlog.locker (event_id, aggregate_id, lock_domain)
select event_id, aggregate_id, $1
from unnest($2::uuid[], $3::uuid[]) with ordinality as wanted (event_id, aggregate_id, place)
order by place
on conflict do nothing
returning event_id, aggregate_id
