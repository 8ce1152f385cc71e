alter table events
    drop constraint events_position_check,
    add constraint events_position_check check (position > 0) not valid;
