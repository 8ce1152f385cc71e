-- What has been applied, by whom, and what waits.

-- A row = this projection (lock_domain) has applied this event. Its key is what makes every fold exactly-once: a second
-- worker that inserts the same claim waits for the first one's transaction, then skips it.
create table locker (
    event_id uuid not null,
    aggregate_id uuid not null,
    lock_domain text not null,
    constraint locker_pkey primary key (event_id, aggregate_id, lock_domain)
);

-- Per projection a snapshot, in the log's terms: every event visible in it is claimed or parked. It only bounds the
-- search for unclaimed events; the locker stays the truth, and dropping a row here costs time, not events.
create table settled (
    settled_at timestamptz not null default statement_timestamp(),
    lock_domain text not null,
    snapshot pg_snapshot not null,
    constraint settled_pkey primary key (lock_domain)
);

-- An aggregate whose next event could not be folded: its later events wait behind it, all other aggregates go on.
create table parked (
    parked_at timestamptz not null default statement_timestamp(),
    next_try timestamptz not null,
    event_id uuid not null,
    aggregate_id uuid not null,
    version integer not null,
    attempts integer not null default 1,
    lock_domain text not null,
    error text not null,
    constraint parked_pkey primary key (lock_domain, aggregate_id),
    constraint parked_attempts_check check (attempts > 0)
);

-- The views that exist and the definition each was created from. A view is disposable and belongs to its domain, so its
-- table is created from the code, not by a migration; this row says from which code.
create table views (
    created_at timestamptz not null default statement_timestamp(),
    name text not null,
    definition text not null,
    constraint views_pkey primary key (name)
);
