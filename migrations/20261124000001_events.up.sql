-- The log. Its events cannot be rebuilt from anything else, so the database itself rejects changes to them.

-- One row with the state of the whole log. `txid_offset` is added to every transaction id before it is stored or compared.
-- It is 0 until the log moves to a cluster whose transaction counter is lower than the stored ids (a restored dump, a
-- logical replica). heal_log() raises it then, so that new events still sort after old ones.
create table log (
    txid_offset bigint not null default 0,
    one boolean not null default true,
    constraint log_pkey primary key (one),
    constraint log_one_check check (one),
    constraint log_txid_offset_check check (txid_offset >= 0)
);

insert into log default values;

-- The id of this transaction with the log's offset. It is the default of events.txid. foldlog's own inserts repeat the
-- expression, because that is faster than a call.
create function log_txid() returns xid8
language sql
volatile
as $$
    select (pg_current_xact_id()::text::bigint + txid_offset)::text::xid8
    from log
$$;

-- The statement's snapshot with the log's offset. Compare events.txid and settled.snapshot with it, and never with the raw
-- pg_current_snapshot().
create function log_snapshot() returns pg_snapshot
language sql
stable
as $$
    select case
        when log.txid_offset = 0 then now.snapshot
        else concat(
            pg_snapshot_xmin(now.snapshot)::text::bigint + log.txid_offset, ':',
            pg_snapshot_xmax(now.snapshot)::text::bigint + log.txid_offset, ':',
            (
                select string_agg((running.txid::text::bigint + log.txid_offset)::text, ',' order by running.txid)
                from pg_snapshot_xip(now.snapshot) as running (txid)
            )
        )::pg_snapshot
    end
    from log, (select pg_current_snapshot() as snapshot) as now
$$;

-- Columns in alignment order: 8 bytes, 16, then 4, 2 and the variable ones.
create table events (
    -- Increases with every event, has gaps, and may become visible out of order.
    position bigint generated always as identity,
    -- The appending transaction's id with the log's offset. Claims and the feed are ordered by (txid, position), because a
    -- snapshot can tell whether it sees a transaction id, but not whether it sees a position.
    txid xid8 not null default log_txid(),
    created_at timestamptz not null default statement_timestamp(),
    -- Chosen by the client: the idempotency key.
    id uuid not null,
    aggregate_id uuid not null,
    -- 1, 2, 3 … within the aggregate, without gaps.
    version integer not null,
    type_id smallint not null,
    payload jsonb not null,
    metadata jsonb not null default '{}',
    -- Every key contains aggregate_id, so that the table can be partitioned or distributed by it.
    constraint events_pkey primary key (id, aggregate_id),
    constraint events_aggregate_id_version_key unique (aggregate_id, version),
    constraint events_version_check check (version > 0),
    constraint events_type_id_check check (type_id > 0),
    constraint events_payload_check check (jsonb_typeof(payload) = 'object'),
    constraint events_metadata_check check (jsonb_typeof(metadata) = 'object')
);

create index events_txid_position_idx on events (txid, position);

create function refuse_rewrite() returns trigger
language plpgsql
as $$
begin
    raise exception 'events are immutable: % on % is refused', tg_op, tg_table_name
        using errcode = 'insufficient_privilege', hint = 'append an event that corrects the earlier one';
end
$$;

create trigger events_immutable
before update or delete or truncate on events
for each statement execute function refuse_rewrite();
