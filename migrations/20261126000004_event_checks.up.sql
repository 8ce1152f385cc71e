-- Foreign SQL cannot store an event that hosts cannot read. `not valid`: the checks apply to new events, and events that a log
-- already has stay as they are.
alter table events
    -- Years that RFC 3339 can express. Without the check an infinite time would be the time of all later events of its
    -- aggregate, because that never runs backwards.
    add constraint events_created_at_check
        check (created_at >= '0001-01-01 00:00:00+00' and created_at < '10000-01-01 00:00:00+00') not valid,
    -- Half of the range of a bigint is left for the offset of a log that moves to another cluster.
    add constraint events_txid_check check (txid < '4611686018427387904'::xid8) not valid,
    add constraint events_position_check check (position > 0) not valid;
