-- The roles of the hosts: whether they exist, and which of the privileges that foldlog has granted they lack. A table or a function that
-- does not exist is left out, because a migration is pending.
-- $1 text[] the roles
-- $2 text[] of each privilege the role
-- $3 text[] of each privilege its name
-- $4 text[] of each privilege the table or the function
-- returns rows (postgres, login, host_role, name, is_present, lacks)
-- role: foldlog_query
with needed as (
    select n.role, n.privilege, n.object
    from unnest($2::text[], $3::text[], $4::text[]) as n (role, privilege, object)
    union all
    select n.role, n.privilege, g.name
    from foldlog.views g
    cross join (
        values
            ('foldlog_command', 'select'),
            ('foldlog_command_inline', 'select'),
            ('foldlog_command_inline', 'insert'),
            ('foldlog_command_inline', 'update'),
            ('foldlog_command_inline', 'delete'),
            ('foldlog_query', 'select'),
            ('foldlog_projection', 'select'),
            ('foldlog_projection', 'insert'),
            ('foldlog_projection', 'update'),
            ('foldlog_projection', 'delete')
    ) as n (role, privilege)
    where g.state <> 'dropped'
)
select
    current_setting('server_version') as postgres,
    session_user::text as login,
    current_user::text as host_role,
    wanted.name,
    r.oid is not null as is_present,
    case
        when r.oid is not null then coalesce(
            (
                select array_agg(n.privilege || ' on ' || n.object order by n.object, n.privilege)
                from needed n
                where n.role = wanted.name
                    and not case n.privilege
                        when 'execute' then has_function_privilege(r.oid, to_regproc('foldlog.' || quote_ident(n.object)), 'execute')
                        -- Some columns are not for the role to write.
                        when 'insert' then has_any_column_privilege(r.oid, to_regclass('foldlog.' || quote_ident(n.object)), 'insert')
                        else has_table_privilege(r.oid, to_regclass('foldlog.' || quote_ident(n.object)), n.privilege)
                    end
            ),
            '{}'
        )
    end as lacks
from unnest($1::text[]) with ordinality as wanted (name, place)
left join pg_roles r on r.rolname = wanted.name
order by wanted.place
