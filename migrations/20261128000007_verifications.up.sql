-- What the last verification of each projection has found: the rows and claims that differ from what the events give.
create table verifications (
    verified_at timestamptz not null default statement_timestamp(),
    aggregates bigint not null,
    differ bigint not null,
    orphan_claims bigint not null,
    repaired bigint not null,
    complete boolean not null,
    projection text not null,
    constraint verifications_pkey primary key (projection)
);

-- The first differences, field by field, without secrets, until the next verification.
create table differences (
    aggregate_id uuid not null,
    projection text not null,
    -- Empty for what concerns the row as a whole or its claims.
    field text not null,
    live json not null,
    new json not null,
    constraint differences_pkey primary key (projection, aggregate_id, field)
);

grant select on verifications, differences to foldlog_query;
grant select, insert, update, delete on verifications, differences to foldlog_projection;
