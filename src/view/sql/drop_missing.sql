-- Gives a generation up whose table is missing.
-- $1 text the lock domain of the generation
-- returns a row text if it is missing
-- role: owner
-- uses: views_pkey
update foldlog.views
set state = 'dropped', serves = false
where name = $1
    and not exists (
        select
        from pg_class c
        where c.relname = $1::text
            and c.relnamespace = (select relnamespace from pg_class where oid = 'foldlog.views'::regclass)
    )
returning name
