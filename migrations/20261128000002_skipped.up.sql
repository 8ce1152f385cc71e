-- Events that an operator has skipped, in all generations of a projection: they are claimed, but not folded. The row of the view is at
-- their version, without their effect.
create table skipped (
    skipped_at timestamptz not null default statement_timestamp(),
    event_id uuid not null,
    aggregate_id uuid not null,
    version integer not null,
    projection text not null,
    -- Why the event could not be folded.
    error text not null,
    -- Why it was skipped.
    reason text not null,
    -- Who skipped it, if that is known.
    actor text,
    constraint skipped_pkey primary key (projection, aggregate_id, version)
);

grant select on skipped to foldlog_query;
grant select, insert on skipped to foldlog_projection;
