-- Moves the rows of foldlog's migrations from sqlx's default ledger to foldlog's own. Rows of an application's migrations
-- stay. A checksum that an earlier build recorded for an earlier text of the same migration becomes the current one.
-- $1 bigint[] the versions of foldlog's migrations
-- $2 text[] their descriptions
-- $3 bytea[] their checksums
-- $4 text[] the checksums of their earlier texts in hexadecimal, or nulls
-- role: owner
with moved as (
    delete from foldlog._sqlx_migrations m
    using unnest($1::bigint[], $2::text[], $3::bytea[], $4::text[]) as own (version, description, checksum, replaced)
    where m.version = own.version
        and m.description = own.description
    returning
        m.version,
        m.description,
        m.installed_on,
        m.success,
        case when encode(m.checksum, 'hex') = own.replaced then own.checksum else m.checksum end as checksum,
        m.execution_time
)
insert into foldlog.foldlog_migrations (version, description, installed_on, success, checksum, execution_time)
select version, description, installed_on, success, checksum, execution_time
from moved
on conflict (version) do nothing
