-- Takes the aggregates that are parked because of an event, as a retry takes one. An event id belongs to one event of an aggregate,
-- so more than one may be found.
-- $1 text lock domain
-- $2 uuid event id
-- $3 uuid aggregate id, or null
-- $4 text the projection, no generation of which goes live until this transaction ends
-- returns rows uuid: the aggregates, at most two; none when the generation is dropped
-- role: foldlog_projection
-- uses: parked_pkey views_pkey
with shared as materialized (
    select pg_advisory_xact_lock_shared(foldlog.generation_key($4))
)
select aggregate_id
from foldlog.parked
where lock_domain = $1
    and event_id = $2
    and aggregate_id >= coalesce($3::uuid, '00000000-0000-0000-0000-000000000000')
    and aggregate_id <= coalesce($3::uuid, 'ffffffff-ffff-ffff-ffff-ffffffffffff')
    and (select count(*) from shared) = 1
    and exists (select from foldlog.views g where g.name = $1 and g.state <> 'dropped')
order by aggregate_id
limit 2
for update
