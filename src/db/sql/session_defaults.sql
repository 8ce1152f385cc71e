-- The server session behind a pooler: its process, login and role, and each of foldlog's settings that has another value there.
-- A limit may have another value, but not 0, which means none. Every positive `extra_float_digits` means the same.
-- $1 text[] names of settings
-- $2 text[] their values
-- returns int4, text (quoted as an identifier), text, text[] (each as `name = 'value'`)
-- role: foldlog_query
select
    pg_backend_pid(),
    quote_ident(session_user),
    current_user::text,
    array(
        select wanted.name || ' = ' || quote_literal(wanted.setting)
        from unnest($1::text[], $2::text[]) with ordinality as wanted (name, setting, place)
        where case
            when wanted.name like '%timeout' then current_setting(wanted.name) = '0'
            when wanted.name = 'extra_float_digits' then current_setting(wanted.name)::integer < 1
            else current_setting(wanted.name) <> wanted.setting
        end
        order by wanted.place
    )
