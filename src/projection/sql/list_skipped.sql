-- A page of the events that operators have skipped in a projection, in the order of their aggregates and versions.
-- $1 text the projection
-- $2 uuid after an event of this aggregate; nil: from the first one on
-- $3 integer after this version of it
-- $4 bigint at most so many
-- returns rows (aggregate_id, event_id, version, reason, actor, skipped_at)
-- role: foldlog_query
-- uses: skipped_pkey
select aggregate_id, event_id, version, reason, actor, skipped_at
from foldlog.skipped
where projection = $1
    and (aggregate_id, version) > ($2, $3::integer)
order by aggregate_id, version
limit $4
