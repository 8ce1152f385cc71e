-- Which projection has applied which events, and which aggregates are parked.

-- Each row says that the projection lock_domain has applied an event. Its key makes every fold exactly-once: a second worker
-- that inserts the same claim waits for the first worker's transaction, and then skips the event.
create table locker (
    event_id uuid not null,
    aggregate_id uuid not null,
    lock_domain text not null,
    constraint locker_pkey primary key (event_id, aggregate_id, lock_domain)
);

-- A high-water mark per projection, but a whole snapshot, with the log's offset: every event that it sees is claimed or
-- parked. It only bounds the search for unclaimed events. The locker is authoritative, so a deleted row costs time, but no
-- event.
create table settled (
    settled_at timestamptz not null default statement_timestamp(),
    lock_domain text not null,
    snapshot pg_snapshot not null,
    constraint settled_pkey primary key (lock_domain)
);

-- Aggregates whose next event could not be folded. Their later events wait; all other aggregates continue.
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
