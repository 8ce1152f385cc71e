-- The last verification of a projection, and whether an invocation can go on with it: it is not complete, asks the same question, and
-- an invocation has worked on it within the last hour. What it has found before would be too old otherwise.
-- $1 text the projection
-- $2 text lock domain
-- $3 text the hash of the fold
-- $4 bool whether it repairs
-- returns a row (run uuid or null, can_continue bool), or no row
-- role: foldlog_projection
-- uses: verifications_pkey
select
    run,
    coalesce(
        not complete
            and run is not null
            and generation = $2
            and fold_hash = $3
            and repairs = $4
            and verified_at > statement_timestamp() - interval '1 hour',
        false
    ) as can_continue
from foldlog.verifications
where projection = $1
