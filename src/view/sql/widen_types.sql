-- Remembers the event types of a view's projection. If they were other types before, the projection forgets what it has settled. Types
-- are only added: hosts of an older build may still run.
-- $1 text the view's name
-- $2 smallint the first event type
-- $3 smallint the event type before which to end
-- returns a row (name text) if the projection folds more types than before
-- role: owner
-- uses: views_pkey
with before as (
    select first_type, end_type
    from foldlog.views
    where name = $1
    for update
),
remembered as (
    update foldlog.views
    set first_type = least(first_type, $2), end_type = greatest(end_type, $3)
    where name = $1
        and (first_type is null or first_type > $2 or end_type < $3)
    returning name
),
forgotten as (
    delete from foldlog.settled
    where lock_domain = (select name from remembered)
        and exists (select from before where first_type is not null)
    returning lock_domain
)
select name
from remembered
where exists (select from before where first_type is not null)
    and (select count(*) from forgotten) >= 0
