-- Records the result of a verification.
-- $1 text the projection
-- $2 bigint aggregates checked
-- $3 bigint aggregates that differ
-- $4 bigint claims of events that are not in the log
-- $5 bigint aggregates repaired
-- $6 bool whether everything was checked
-- role: foldlog_projection
-- uses: verifications_pkey
insert into foldlog.verifications (projection, aggregates, differ, orphan_claims, repaired, complete)
values ($1, $2, $3, $4, $5, $6)
on conflict (projection) do update
set verified_at = excluded.verified_at,
    aggregates = excluded.aggregates,
    differ = excluded.differ,
    orphan_claims = excluded.orphan_claims,
    repaired = excluded.repaired,
    complete = excluded.complete
