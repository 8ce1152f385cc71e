-- A verification that runs out of time goes on in the next invocation. Its row is also the record of the last result, and an earlier build
-- writes only that: the columns are null then, and the next verification starts anew.
alter table verifications
    add column started_at timestamptz not null default statement_timestamp(),
    -- About how many aggregates there were at the start; null if Postgres has no statistics of the view.
    add column estimated_aggregates bigint,
    add column removed_claims bigint not null default 0,
    -- The pages of `locker` before this one have been searched for claims of events that are not in the log, in this file of the table.
    add column claims_page bigint not null default 0,
    add column claims_file oid,
    add column repairs boolean not null default false,
    -- Names the verification. Whatever it counts, it counts in the row that has its name.
    add column run uuid,
    -- What it compares: another generation or another fold is another question.
    add column generation text,
    add column fold_hash text;

-- An invocation reports the differences that earlier ones have found, with the version of the row or of its newest claim.
alter table differences add column version integer not null default 0;

-- The ranges of aggregates that the verification of a projection checks, and where each goes on. The row of a range moves in the
-- transaction that counts what was found before this place, so that an aggregate is counted once, however many invocations check it.
create table verify_ranges (
    -- When an invocation has last worked on it, so that another one takes another range.
    taken_at timestamptz,
    first uuid not null,
    last uuid not null,
    -- The first aggregate that is not checked.
    next uuid not null,
    is_finished boolean not null default false,
    projection text not null,
    constraint verify_ranges_pkey primary key (projection, first)
);

grant select on verify_ranges to foldlog_query;
grant select, insert, update, delete on verify_ranges to foldlog_projection;
