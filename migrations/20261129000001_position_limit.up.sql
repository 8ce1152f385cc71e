-- JavaScript reads integers exactly up to 2^53 - 1, and clients get positions as JSON numbers. No log reaches that many: a million
-- events per second take 285 years. `not valid`: the check applies to new events.
alter table events
    drop constraint events_position_check,
    add constraint events_position_check check (position between 1 and 9007199254740991) not valid;
