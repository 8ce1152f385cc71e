-- The next events of an aggregate from a version on, in their order.
-- $1 uuid aggregate id
-- $2 integer version
-- $3 smallint the first event type
-- $4 smallint the event type before which to end
-- $5 bigint at most so many
-- $6 text the projection
-- returns rows (id, aggregate_id, version, position, type_id, created_at, payload, metadata, skipped bool or null)
-- role: foldlog_projection
-- uses: events_aggregate_id_version_key skipped_pkey
select
    e.id, e.aggregate_id, e.version, e.position, e.type_id, e.created_at, e.payload, e.metadata,
    case
        when (select exists (select from foldlog.skipped s where s.projection = $6 limit 1)) then (
            select exists (
                select
                from (
                    select
                    from foldlog.skipped s
                    where s.projection = $6
                        and s.aggregate_id = e.aggregate_id
                        and s.version = e.version
                    limit 1
                ) s
            )
        )
    end as skipped
from foldlog.events e
where e.aggregate_id = $1
    and e.version >= $2
    and e.type_id >= $3
    and e.type_id < $4
order by e.version
limit $5
