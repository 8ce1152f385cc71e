-- Counts the claims of events that are not in the log, in a range of pages, and removes them on request, unless another invocation has
-- counted them. After the last page the verification is complete.
-- $1 text lock domain
-- $2 bigint the first page
-- $3 bigint how many pages
-- $4 bool whether to remove them
-- $5 text the projection
-- $6 uuid the name of the verification
-- role: foldlog_projection
-- uses: events_pkey verifications_pkey
with orphan as materialized (
    select l.ctid as place
    from foldlog.locker l
    left join lateral (
        select true as exists
        from foldlog.events e
        where e.id = l.event_id
            and e.aggregate_id = l.aggregate_id
        limit 1
    ) event on true
    where l.ctid >= format('(%s,0)', $2::bigint)::tid
        and l.ctid < format('(%s,0)', least($2::bigint + $3::bigint, 4294967295))::tid
        and l.lock_domain = $1
        and event.exists is null
),
found as materialized (
    select count(*) as claims, pg_relation_filenode('foldlog.locker') as file
    from orphan
),
counted as (
    update foldlog.verifications v
    set verified_at = clock_timestamp(),
        -- A search that begins again finds the claims again, apart from those that it has removed.
        orphan_claims = found.claims + case when v.claims_file = found.file then v.orphan_claims else v.removed_claims end,
        removed_claims = v.removed_claims + case when $4 then found.claims else 0 end,
        claims_page = $2 + $3,
        claims_file = found.file,
        complete = pg_relation_size('foldlog.locker') <= ($2 + $3) * current_setting('block_size')::bigint
    from found
    where v.projection = $5
        and v.run = $6
        and not v.complete
        and $2 = case when v.claims_file = found.file then v.claims_page else 0 end
    returning true
)
delete from foldlog.locker
where $4
    and exists (select from counted)
    and ctid = any (array(select place from orphan))
