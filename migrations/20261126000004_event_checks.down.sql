alter table events
    drop constraint events_position_check,
    drop constraint events_txid_check,
    drop constraint events_created_at_check;
