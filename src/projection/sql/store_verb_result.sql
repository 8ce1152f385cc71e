-- Records what a verb has answered, in place of its answer before.
-- $1 text the projection
-- $2 text the verb
-- $3 json the answer
-- role: foldlog_projection
-- uses: verb_results_pkey
insert into foldlog.verb_results (projection, verb, result)
values ($1, $2, $3::json)
on conflict (projection, verb) do update
set answered_at = excluded.answered_at, result = excluded.result
