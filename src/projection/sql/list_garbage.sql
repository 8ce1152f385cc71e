-- The generations of a projection that no code needs. One whose table could not be dropped is tried again after an hour.
-- $1 text the projection
-- returns rows text
-- role: foldlog_projection
-- uses: views_projection_idx
select name
from foldlog.views
where projection = $1
    and coalesce(removal_failed_at, '-infinity') < statement_timestamp() - interval '1 hour'
    and (
        state = 'dropped'
        or state = 'retired'
            and greatest(retired_at, used_at) < statement_timestamp()
                - case when serves then interval '1 hour' else interval '1 minute' end
    )
order by name
