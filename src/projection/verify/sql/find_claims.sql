-- Where the search for claims of events that are not in the log goes on. It begins again after the table was rewritten, which moves claims.
-- $1 text the projection
-- $2 uuid the name of the verification
-- returns a row (claims_page bigint, complete bool), or no row if another verification has begun
-- role: foldlog_projection
-- uses: verifications_pkey
select case when claims_file = pg_relation_filenode('foldlog.locker') then claims_page else 0 end as claims_page, complete
from foldlog.verifications
where projection = $1
    and run = $2
