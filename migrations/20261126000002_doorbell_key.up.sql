-- A doorbell key per schema, so that the appends of one foldlog neither wake nor keep awake the listener of another in the
-- same database. In `public` it stays K, 'foldlog' in ASCII. Listeners call the function; the trigger has the number itself,
-- because Postgres would evaluate the function anew for each append.
do $$
declare
    key bigint := case when current_schema() = 'public'
        then 28832958956466023
        else hashtextextended(current_schema(), 28832958956466023)
    end;
begin
    execute format('create function doorbell_key() returns bigint language sql immutable as %L', 'select ' || key || '::bigint');
    if current_schema() <> 'public' then
        drop trigger events_doorbell on events;
        execute format(
            'create trigger events_doorbell after insert on events for each statement '
            'when (not pg_try_advisory_xact_lock_shared(%s)) execute function ring()',
            key
        );
    end if;
end
$$;
