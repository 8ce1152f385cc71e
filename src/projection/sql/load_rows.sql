-- Reads the view row of each aggregate that is to be folded. If the aggregate has no row, it also reads whether the
-- predecessor of the first event is claimed. Both come from one snapshot, because this is a single statement. The limits and
-- the select around `exists` are necessary: without them, Postgres may hash all rows or claims instead of probing the index.
-- $1 uuid[] aggregate ids
-- $2 integer[] the lowest version to fold into each
-- $3 text lock domain
-- returns rows (wanted_id, viewed, viewed_version, predecessor_claimed)
-- role: foldlog_projection
-- uses: events_aggregate_id_version_key locker_pkey {table}_pkey
select
    wanted.id as wanted_id,
    viewed.json as viewed,
    viewed.version as viewed_version,
    case
        when viewed.version is null and wanted.lowest > 1 then (
            select exists (
                select
                from foldlog.events e
                cross join lateral (
                    select
                    from foldlog.locker l
                    where l.event_id = e.id
                        and l.aggregate_id = e.aggregate_id
                        and l.lock_domain = $3
                    limit 1
                ) claim
                where e.aggregate_id = wanted.id
                    and e.version = wanted.lowest - 1
            )
        )
    end as predecessor_claimed
from unnest($1::uuid[], $2::integer[]) as wanted (id, lowest)
left join lateral (
    select to_json(v.*) as json, v.version
    from foldlog."{table}" v
    where v.id = wanted.id
    limit 1
) viewed on true
