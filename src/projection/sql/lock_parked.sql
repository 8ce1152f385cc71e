-- Takes a parked aggregate for a retry. Excludes every pass that relies on its being parked, and other retries.
-- $1 text lock domain
-- $2 uuid aggregate id
-- $3 text the projection, no generation of which goes live until this transaction ends
-- returns integer the version at which it is parked, or no row when it is not parked any more, or the generation is dropped
-- role: foldlog_projection
-- uses: parked_pkey views_pkey
with shared as materialized (
    select pg_advisory_xact_lock_shared(foldlog.generation_key($3))
)
select p.version
from foldlog.parked p
where p.lock_domain = $1
    and p.aggregate_id = $2
    and (select count(*) from shared) = 1
    and exists (select from foldlog.views g where g.name = $1 and g.state <> 'dropped')
for update
