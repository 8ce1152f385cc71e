-- Whether foldlog may change settings of the whole database without being asked to: its schema is `public`, the login
-- owns the database, and the database holds no tables but foldlog's and those of extensions.
-- $1 text the schema's name
-- $2 text[] the names of foldlog's tables
-- returns bool
-- role: owner
select $1 = 'public'
    and pg_has_role((select datdba from pg_database where datname = current_database()), 'usage')
    and not exists (
        select
        from pg_class c
        join pg_namespace n on n.oid = c.relnamespace
        where c.relkind in ('r', 'p', 'v', 'm', 'f')
            and n.nspname <> 'information_schema'
            and n.nspname not like 'pg\_%'
            and not (n.nspname = 'public' and c.relname = any ($2::text[]))
            and not exists (
                select
                from pg_depend d
                where d.classid = 'pg_class'::regclass
                    and d.objid = c.oid
                    and d.deptype = 'e'
            )
    )
