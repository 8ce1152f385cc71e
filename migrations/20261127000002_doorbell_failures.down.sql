-- An append fails again while the queue of notifications is full.
do $$
begin
    execute format(
        'create or replace trigger events_doorbell after insert on events for each statement '
        'when (not pg_try_advisory_xact_lock_shared(%s)) execute function ring()',
        doorbell_key()
    );
end
$$;

create or replace function ring() returns trigger
language plpgsql
as $$
begin
    perform pg_notify('events:created', '');
    return null;
end
$$;
