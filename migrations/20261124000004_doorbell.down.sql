drop trigger events_doorbell on events;
drop function ring();
