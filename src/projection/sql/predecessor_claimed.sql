select exists (
    select
    from events e
    join locker l on l.event_id = e.id and l.aggregate_id = e.aggregate_id and l.lock_domain = $3
    where e.aggregate_id = wanted.id
        and e.version = wanted.lowest - 1
)
