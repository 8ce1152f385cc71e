-- Reads the next batch of a lane: what the lane has settled, the next events that C sees and the lane has not settled, and the view
-- rows of their aggregates, all in one snapshot. It locks nothing and writes nothing.
-- $1 text lock domain
-- $2 smallint the lane's first slot; null: the lane that is furthest behind
-- $3 text the snapshot C; null: the snapshot of this statement
-- $4 smallint the first event type
-- $5 smallint the event type before which to end
-- $6 bigint return at most this many events
-- $7 bool also read whether each event is claimed
-- $8 bool also count the parked aggregates, up to 100,000
-- returns rows (header), then the events of aggregates that are not parked, then the view row of each of these aggregates
-- role: foldlog_projection
-- uses: views_pkey views_projection_idx settled_pkey events_txid_position_idx events_aggregate_id_version_key parked_pkey parked_lock_domain_next_try_idx locker_pkey skipped_pkey {table}_pkey
with lanes as materialized (
    select first, last, snapshot, txid, position, turn, settled_at, xmin::text as writer
    from foldlog.settled
    where lock_domain = $1
        and exists (select from foldlog.views g where g.name = $1 and g.state <> 'dropped')
),
lane as materialized (
    select
        first,
        last,
        snapshot,
        txid,
        position,
        turn,
        settled_at,
        writer,
        coalesce($3::text::pg_snapshot, foldlog.log_snapshot()) as frozen,
        -- How many events of all lanes to look at, so that the cost is bounded however few of them belong to this lane and
        -- projection.
        greatest($6::bigint, least($6::bigint * 256 / (last - first + 1), 200000)) as look
    from lanes
    where $2::smallint is null
        or first = $2
    order by pg_snapshot_xmax(snapshot), pg_snapshot_xmin(snapshot), position, first
    limit 1
),
-- What is not settled: the rest of the begun transaction, the late transactions, and the tail.
span as materialized (
    select 0 as place, lane.txid, lane.position, ((lane.txid::text::bigint + 1)::text)::xid8 as before
    from lane
    where pg_visible_in_snapshot(lane.txid, lane.frozen)
    union all
    select 1, late.txid, 0, ((late.txid::text::bigint + 1)::text)::xid8
    from lane, pg_snapshot_xip(lane.snapshot) as late (txid)
    where late.txid is distinct from lane.txid
        and pg_visible_in_snapshot(late.txid, lane.frozen)
    union all
    select 2, pg_snapshot_xmax(lane.snapshot), 0, pg_snapshot_xmax(lane.frozen)
    from lane
    where pg_snapshot_xmax(lane.snapshot) < pg_snapshot_xmax(lane.frozen)
),
-- How far to look into each span. Null means to its end.
reach as materialized (
    select span.place, span.txid, span.position, span.before, bound.txid as to_txid, bound.position as to_position
    from span
    cross join lane
    left join lateral (
        select e.txid, e.position
        from foldlog.events e
        where (e.txid, e.position) > (span.txid, span.position)
            and e.txid < span.before
        order by e.txid, e.position
        offset lane.look - 1
        limit 1
    ) bound on true
),
stop as materialized (
    select place, txid, to_txid, to_position
    from reach
    where to_txid is not null
    order by place, txid
    limit 1
),
found as materialized (
    select e.id, e.aggregate_id, e.version, e.position, e.txid, e.type_id, e.created_at, e.payload, e.metadata, reach.place
    from reach
    cross join lane
    left join stop on true
    cross join lateral (
        select e.id, e.aggregate_id, e.version, e.position, e.txid, e.type_id, e.created_at, e.payload, e.metadata
        from foldlog.events e
        where (e.txid, e.position) > (reach.txid, reach.position)
            and (e.txid, e.position) <= (
                coalesce(reach.to_txid, reach.before), coalesce(reach.to_position, 0)
            )
            and pg_visible_in_snapshot(e.txid, lane.frozen)
            and (lane.last - lane.first = 255 or uuid_hash(e.aggregate_id) & 255 between lane.first and lane.last)
            and e.type_id >= $4
            and e.type_id < $5
        order by e.txid, e.position
        limit $6
    ) e
    where stop.to_txid is null
        or (reach.place, reach.txid) <= (stop.place, stop.txid)
    order by reach.place, e.txid, e.position
    limit $6
),
aggregate as materialized (
    select f.aggregate_id, parked.is_parked
    from (select distinct aggregate_id from found) f
    left join lateral (
        select true as is_parked
        from foldlog.parked p
        where p.lock_domain = $1
            and p.aggregate_id = f.aggregate_id
        limit 1
    ) parked on true
),
event as materialized (
    select
        f.*,
        case
            when $7 then (
                select exists (
                    select
                    from (
                        select
                        from foldlog.locker l
                        where l.event_id = f.id
                            and l.aggregate_id = f.aggregate_id
                            and l.lock_domain = $1
                        limit 1
                    ) l
                )
            )
        end as claimed,
        case
            when (select exists (select from foldlog.skipped s where s.projection = split_part($1, '#', 1) limit 1)) then (
                select exists (
                    select
                    from (
                        select
                        from foldlog.skipped s
                        where s.projection = split_part($1, '#', 1)
                            and s.aggregate_id = f.aggregate_id
                            and s.version = f.version
                        limit 1
                    ) s
                )
            )
        end as skipped
    from found f
    -- Hashed. Postgres would join these few expected rows by a nested loop, which is quadratic in the size of a batch.
    where f.aggregate_id not in (select a.aggregate_id from aggregate a where a.is_parked)
),
touched as materialized (
    select aggregate_id, min(version) as lowest
    from event
    where claimed is not true
    group by aggregate_id
)
select
    json_build_object(
        'first', first,
        'last', last,
        'turn', turn,
        'writer', writer,
        'seen_lately', settled_at > statement_timestamp() - interval '10 seconds',
        'snapshot', snapshot::text,
        'txid', txid::text,
        'position', position,
        'frozen', frozen::text,
        'stop', case
            when (select count(*) from found) = $6 then (
                select json_build_array(f.txid::text, f.position)
                from found f
                order by f.place desc, f.txid desc, f.position desc
                limit 1
            )
            else (select json_build_array(to_txid::text, to_position) from stop)
        end,
        'found', (select count(*) from found),
        'passed_over', (select coalesce(json_agg(aggregate_id), '[]') from aggregate where is_parked),
        'lanes', (select count(*) from lanes),
        'slots', (select sum(l.last - l.first + 1) from lanes l),
        'same_hash', (select slots from foldlog.log) = uuid_hash('00000000-0000-0000-0000-000000000001'),
        -- An event from the future: the log was restored from another cluster while this session was open.
        'behind', case
            when $3 is null and not exists (select from found) then (
                select coalesce(
                    (select e.txid from foldlog.events e order by e.txid desc, e.position desc limit 1)
                        >= pg_snapshot_xmax(frozen),
                    false
                )
            )
            else false
        end,
        'serves', {serves},
        -- This process projects a retired generation for readers with an older definition, and says so once a minute.
        'must_touch', exists (
            select
            from foldlog.views g
            where g.name = $1
                and g.state = 'retired'
                and g.serves
                and coalesce(g.used_at, g.retired_at) < statement_timestamp() - interval '1 minute'
        ),
        'has_garbage', exists (
            select
            from foldlog.views g
            where g.projection = split_part('{table}', '#', 1)
                and coalesce(g.removal_failed_at, '-infinity') < statement_timestamp() - interval '1 hour'
                and (
                    g.state = 'dropped'
                    or g.state = 'retired'
                        and greatest(g.retired_at, g.used_at) < statement_timestamp()
                            - case when g.serves then interval '1 hour' else interval '1 minute' end
                )
        ),
        'retry_due', (
            select exists (
                select
                from foldlog.parked p
                where p.lock_domain = $1
                    and p.next_try <= statement_timestamp()
            )
        ),
        'parked', case
            when $8 then (
                select count(*)
                from (select from foldlog.parked p where p.lock_domain = $1 limit 100000) p
            )
        end
    )::text as header,
    null::uuid as id,
    null::uuid as aggregate_id,
    null::integer as version,
    null::bigint as position,
    null::smallint as type_id,
    null::timestamptz as created_at,
    null::jsonb as payload,
    null::jsonb as metadata,
    null::boolean as claimed,
    null::boolean as skipped,
    null::json as viewed,
    null::integer as viewed_version,
    null::boolean as predecessor_claimed
from lane
union all
select null, id, aggregate_id, version, position, type_id, created_at, payload, metadata, claimed, skipped, null, null, null
from event
union all
select
    null,
    null,
    touched.aggregate_id,
    null,
    null,
    null,
    null,
    null,
    null,
    null,
    null,
    viewed.json,
    viewed.version,
    case
        when viewed.version is null and touched.lowest > 1 then (
            select exists (
                select
                from (
                    select e.id, e.aggregate_id
                    from foldlog.events e
                    where e.aggregate_id = touched.aggregate_id
                        and e.version = touched.lowest - 1
                    limit 1
                ) e
                cross join lateral (
                    select
                    from foldlog.locker l
                    where l.event_id = e.id
                        and l.aggregate_id = e.aggregate_id
                        and l.lock_domain = $1
                    limit 1
                ) l
            )
        )
    end
from touched
left join lateral (
    select to_json(v.*) as json, v.version
    from foldlog."{table}" v
    where v.id = touched.aggregate_id
    limit 1
) viewed on true
