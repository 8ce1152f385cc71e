-- Reads the first events of the next aggregates in the order of their ids, to fold them as of a time. It steps from aggregate to
-- aggregate, so its cost does not depend on how many events there are. The first event tells whether the aggregate is of the
-- domain and existed at that time; of the others, and of events after that time, nothing is returned.
-- $1 uuid the aggregate at which to begin
-- $2 integer the version of this aggregate after which to begin: 0, or the highest version to begin with the next aggregate
-- $3 timestamptz the time
-- $4 smallint the first event type
-- $5 smallint the event type before which to end
-- $6 bigint the most aggregates
-- $7 bigint look at so many aggregates at most, of whatever domain
-- $8 bigint the most events; the last aggregate may exceed it
-- $9 bigint the most events per aggregate
-- $10 text the projection
-- returns rows (candidate_id, is_own, goes_on, skipped integer[], id, aggregate_id, version, position, type_id, created_at, payload, metadata)
-- role: foldlog_query
-- uses: events_aggregate_id_version_key skipped_pkey
with recursive candidate as (
    select
        $1::uuid as aggregate_id,
        $2::integer as version,
        false as is_own,
        0::bigint as found,
        0::bigint as events,
        0::bigint as place
    union all
    select
        next.aggregate_id,
        2147483647,
        next.is_own,
        c.found + next.is_own::integer,
        c.events + coalesce(newest.events, 0),
        c.place + 1
    from candidate c
    cross join lateral (
        select
            e.aggregate_id,
            e.type_id >= $4::smallint and e.type_id < $5::smallint and e.created_at <= $3::timestamptz as is_own
        from foldlog.events e
        where (e.aggregate_id, e.version) > (c.aggregate_id, c.version)
        order by e.aggregate_id, e.version
        limit 1
    ) next
    left join lateral (
        select least(e.version, $9::bigint) as events
        from foldlog.events e
        where e.aggregate_id = next.aggregate_id
            and next.is_own
        order by e.version desc
        limit 1
    ) newest on true
    where c.found < $6::bigint
        and c.place < $7::bigint
        and c.events < $8::bigint
)
select
    c.aggregate_id as candidate_id,
    c.is_own,
    -- Whether none of the limits ends the walk here. Then the last of these rows is about the last aggregate.
    c.found < $6 and c.place < $7 and c.events < $8 as goes_on,
    skipped.versions as skipped,
    past.id,
    past.aggregate_id,
    past.version,
    past.position,
    past.type_id,
    past.created_at,
    past.payload,
    past.metadata
from candidate c
left join lateral (
    select array_agg(s.version) as versions
    from foldlog.skipped s
    where s.projection = $10
        and s.aggregate_id = c.aggregate_id
        and c.is_own
) skipped on true
left join lateral (
    select e.*
    from (
        select e.id, e.aggregate_id, e.version, e.position, e.type_id, e.created_at, e.payload, e.metadata
        from foldlog.events e
        where e.aggregate_id = c.aggregate_id
            and c.is_own
        order by e.version
        limit $9
    ) e
    where e.created_at <= $3
) past on true
where c.place > 0
    and (c.is_own or c.place = (select max(last.place) from candidate last))
order by c.place, past.version
