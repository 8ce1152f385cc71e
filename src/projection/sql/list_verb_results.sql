-- What the last verb of each name has answered for a projection.
-- $1 text the projection
-- $2 text only this verb; null for all
-- returns rows (verb text, answered_at timestamptz, result json)
-- role: foldlog_query
-- uses: verb_results_pkey
select verb, answered_at, result
from foldlog.verb_results
where projection = $1 and ($2::text is null or verb = $2)
