-- What the last verb of each name has answered for a projection. A client whose verb was handed over to another process reads it there.
create table verb_results (
    answered_at timestamptz not null default statement_timestamp(),
    projection text not null,
    verb text not null,
    -- The answer without secrets, or the error.
    result json not null,
    constraint verb_results_pkey primary key (projection, verb)
);

grant select on verb_results to foldlog_query;
grant select, insert, update on verb_results to foldlog_projection;
