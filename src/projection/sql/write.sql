-- Writes a folded batch, or nothing. It writes nothing if the lane or one of the parked rows that the batch relies on is not as
-- it was read, and it fails if one of the events is claimed: each claim compares and swaps its aggregate. The claims come
-- before the rows, as in an inline fold. The commit need not be flushed: a crash loses claims, rows and the settled state
-- together, and the batch is folded again.
-- $1 text lock domain
-- $2 smallint the lane's first slot
-- $3 smallint the lane's last slot
-- $4 bigint the lane's turn
-- $5 uuid[] the parked aggregates whose events the batch passed over
-- $6 text the settled snapshot after the batch
-- $7 text the begun transaction, or null
-- $8 bigint the position up to which it is settled
-- $9 uuid[] the events to claim
-- $10 uuid[] their aggregate ids
-- $11 uuid[] aggregates to park
-- $12 uuid[] the events that could not be folded
-- $13 integer[] their versions
-- $14 text[] why
-- $15 uuid[] rows to delete
-- $16 text rows to insert or replace, as a JSON array
-- $17 text the settled snapshot before the batch
-- $18 text the begun transaction before the batch, or null
-- $19 bigint the position before the batch
-- $20 text[] what kind of failure parks each aggregate
-- $21 text the transaction that has written the lane
-- returns a row (turn bigint): the lane's new turn; null: nothing was written
-- role: foldlog_projection
-- uses: settled_pkey parked_pkey locker_pkey {table}_pkey
with lane as materialized (
    select first
    from foldlog.settled
    where lock_domain = $1
        and first = $2
        and last = $3
        and turn = $4
        -- A turn begins anew after the rows of `settled` were deleted.
        and snapshot::text = $17
        and txid is not distinct from $18::text::xid8
        and position = $19
        -- A dump that was restored since the read has a row that says the same, and a log that may lack the events of the batch.
        and xmin::text = $21
    for update
),
relied as materialized (
    select aggregate_id
    from foldlog.parked
    where lock_domain = $1
        and aggregate_id = any ($5)
        and exists (select from lane)
    order by aggregate_id
    for share
),
go as materialized (
    -- The columns of views have lower-case names, so none of them is ambiguous below.
    select set_config('synchronous_commit', 'off', true) as "SETTING"
    from lane
    where (select count(*) from relied) = cardinality($5::uuid[])
),
settle as (
    update foldlog.settled s
    set snapshot = $6::text::pg_snapshot,
        txid = $7::text::xid8,
        position = $8,
        turn = s.turn + 1,
        settled_at = statement_timestamp()
    from go
    where s.lock_domain = $1
        and s.first = $2
    returning s.turn
),
claimed as (
    insert into foldlog.locker (event_id, aggregate_id, lock_domain)
    select event_id, aggregate_id, $1
    from go, unnest($9::uuid[], $10::uuid[]) with ordinality as wanted (event_id, aggregate_id, place)
    order by place
    returning 1
),
parks as (
    insert into foldlog.parked (lock_domain, aggregate_id, event_id, version, error, class, next_try)
    select $1, aggregate_id, event_id, version, error, class, statement_timestamp() + interval '5 seconds'
    from go, unnest($11::uuid[], $12::uuid[], $13::integer[], $14::text[], $20::text[])
        as failed (aggregate_id, event_id, version, error, class)
    order by aggregate_id
    on conflict do nothing
),
-- Deletes run before the upsert, so that other rows can take the unique values of the deleted ones.
deleted as (
    delete from foldlog."{table}"
    where id = any ($15)
        and exists (select from go)
    returning 1
),
written as (
    insert into foldlog."{table}" (id, version, {columns})
    select id, version, {columns}
    from go, json_populate_recordset(null::foldlog."{table}", $16::text::json)
    where (select count(*) from claimed) >= 0
        and (select count(*) from deleted) >= 0
    on conflict (id) do update
    set version = excluded.version, {assignments}
)
select (select turn from settle) as turn
