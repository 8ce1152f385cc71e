-- Claims events for an append that folds inline, and writes the rows folded from them: all rows if it gets all claims, otherwise
-- none. If the generation is not live, or does not serve this build's definition of the view, it claims nothing. It waits for a transaction that has claimed one of the events and is still open. Events of parked aggregates are not
-- claimed.
-- $1 text lock domain
-- $2 uuid[] the events to claim
-- $3 uuid[] their aggregate ids
-- $4 uuid[] rows to delete
-- $5 text rows to insert or replace, as a JSON array
-- $6 bigint how many repairs there were when the rows were read
-- returns rows (event_id, aggregate_id): the events claimed now
-- role: foldlog_projection
-- uses: locker_pkey parked_pkey views_pkey {table}_pkey
with wanted as materialized (
    select wanted.event_id, wanted.aggregate_id
    from unnest($2::uuid[], $3::uuid[]) with ordinality as wanted (event_id, aggregate_id, place)
    left join lateral (
        select true as is_parked
        from foldlog.parked p
        where p.lock_domain = $1
            and p.aggregate_id = wanted.aggregate_id
        limit 1
    ) parked on true
    where parked.is_parked is null
        and {serves}
        and exists (select from foldlog.views g where g.name = $1 and g.state = 'live' and g.repairs = $6)
    order by wanted.place
),
claimed as (
    insert into foldlog.locker (event_id, aggregate_id, lock_domain)
    select event_id, aggregate_id, $1
    from wanted
    on conflict do nothing
    returning event_id, aggregate_id
),
go as materialized (
    select
    where (select count(*) from claimed) = cardinality($2::uuid[])
),
-- Deletes run before the upsert, so that other rows can take the unique values of the deleted ones.
deleted as (
    delete from foldlog."{table}"
    where id = any ($4)
        and exists (select from go)
    returning 1
),
written as (
    insert into foldlog."{table}" (id, version, {columns})
    select id, version, {columns}
    from go, json_populate_recordset(null::foldlog."{table}", $5::text::json)
    where (select count(*) from deleted) >= 0
    on conflict (id) do update
    set version = excluded.version, {assignments}
)
select event_id, aggregate_id
from claimed
