-- Settings: what this database gives its sessions, null if it leaves that to the server, and what this session has.
-- $1 text[] their names
-- returns rows (name, of_database, of_session)
-- role: foldlog_query
select
    n.name,
    (
        select substr(s.entry, length(n.name) + 2)
        from pg_db_role_setting d
        cross join unnest(d.setconfig) as s (entry)
        where d.setdatabase = (select oid from pg_database where datname = current_database())
            and d.setrole = 0
            and starts_with(s.entry, n.name || '=')
    ) as of_database,
    current_setting(n.name, true) as of_session
from unnest($1::text[]) with ordinality as n (name, place)
order by n.place
