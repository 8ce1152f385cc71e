-- Lanes: several workers share one projection. A lane is a row of settled: a range of hash slots, of which one worker at a time
-- folds the events. A projection at rest has one lane with all 256 slots.

alter table settled
    -- A batch may end within a transaction. The events of the transaction `txid` up to `position` are settled, too; the
    -- snapshot lists this transaction as running.
    add column txid xid8,
    add column position bigint not null default 0,
    -- Every write of the row increments it. A worker that read another turn writes nothing.
    add column turn bigint not null default 1,
    -- The aggregates whose slot, uuid_hash(aggregate_id) & 255, is between first and last.
    add column first smallint not null default 0,
    add column last smallint not null default 255,
    alter column snapshot set default '1:1:',
    drop constraint settled_pkey,
    add constraint settled_pkey primary key (lock_domain, first),
    add constraint settled_first_last_check check (0 <= first and first <= last and last <= 255);

-- The hash of a fixed id. A cluster of another architecture may hash differently after a restore, and then the lanes are ranges
-- of other slots: heal_slots() removes them.
alter table log
    add column slots integer not null default uuid_hash('00000000-0000-0000-0000-000000000001');

-- A worker asks before each batch whether a retry is due, however many aggregates are parked.
create index parked_lock_domain_next_try_idx on parked (lock_domain, next_try);

-- Removes the lanes of all projections if this cluster assigns other slots than the one that split the lanes. Workers then read
-- the log from the beginning and drop the events that are applied already. The function runs as its owner, because workers may
-- not write `log`.
create function heal_slots() returns void
language plpgsql
volatile
security definer
set lock_timeout = '2s'
as $$
begin
    if (select slots from log) <> uuid_hash('00000000-0000-0000-0000-000000000001') then
        lock table settled in exclusive mode;
        delete from settled;
        update log set slots = uuid_hash('00000000-0000-0000-0000-000000000001');
    end if;
end
$$;

-- Like heal_log(): the schema first, temporary tables last.
do $$
begin
    execute format('alter function heal_slots() set search_path = %I, pg_temp', current_schema());
end
$$;

revoke execute on function heal_slots() from public;
grant execute on function heal_slots() to foldlog_projection;
