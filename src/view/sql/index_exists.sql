-- Whether foldlog's schema has an index of this name.
-- $1 text the index's name
-- returns bool
-- role: foldlog_query
select exists (
    select
    from pg_class
    where relname = $1::text
        and relnamespace = (select relnamespace from pg_class where oid = 'foldlog.views'::regclass)
)
