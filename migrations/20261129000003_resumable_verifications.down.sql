-- A verification that is not complete starts anew.
drop table verify_ranges;
alter table differences drop column version;
alter table verifications
    drop column started_at,
    drop column estimated_aggregates,
    drop column removed_claims,
    drop column claims_page,
    drop column claims_file,
    drop column repairs,
    drop column run,
    drop column generation,
    drop column fold_hash;
