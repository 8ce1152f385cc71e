-- Starts a verification in place of the last one, unless another invocation has done so.
-- $1 text the projection
-- $2 text lock domain
-- $3 text the hash of the fold
-- $4 bool whether it repairs
-- $5 uuid the name of the verification
-- $6 uuid the name of the last one; null: it has none, or there was none
-- role: foldlog_projection
-- uses: verifications_pkey
insert into foldlog.verifications as v (
    projection, generation, fold_hash, repairs, run, aggregates, differ, orphan_claims, repaired, complete, estimated_aggregates
)
values (
    $1, $2, $3, $4, $5, 0, 0, 0, 0, false,
    (select case when c.reltuples >= 0 then c.reltuples end::bigint from pg_class c where c.oid = 'foldlog."{table}"'::regclass)
)
on conflict (projection) do update
set verified_at = excluded.verified_at,
    started_at = excluded.started_at,
    estimated_aggregates = excluded.estimated_aggregates,
    aggregates = 0,
    differ = 0,
    orphan_claims = 0,
    removed_claims = 0,
    repaired = 0,
    claims_page = 0,
    claims_file = null,
    complete = false,
    repairs = excluded.repairs,
    run = excluded.run,
    generation = excluded.generation,
    fold_hash = excluded.fold_hash
where v.run is not distinct from $6::uuid
