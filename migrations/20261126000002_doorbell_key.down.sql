drop function doorbell_key();

drop trigger events_doorbell on events;

create trigger events_doorbell
after insert on events
for each statement
when (not pg_try_advisory_xact_lock_shared(28832958956466023))
execute function ring();
