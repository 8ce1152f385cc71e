-- Which of these events have no predecessor that this projection could ever claim. Version n + 1 is visible only where n is, so a missing
-- predecessor cannot appear later: foreign SQL left a gap, or two domains share the aggregate.
-- $1 uuid[] aggregate ids
-- $2 integer[] versions
-- $3 smallint the first event type
-- $4 smallint the event type before which to end
-- returns rows uuid
-- role: foldlog_projection
-- uses: events_aggregate_id_version_key
select event.aggregate_id
from unnest($1::uuid[], $2::integer[]) as event (aggregate_id, version)
left join lateral (
    select true as exists
    from foldlog.events e
    where e.aggregate_id = event.aggregate_id
        and e.version = event.version - 1
        and e.type_id >= $3
        and e.type_id < $4
    limit 1
) predecessor on true
where event.version > 1
    and predecessor.exists is null
