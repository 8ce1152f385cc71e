-- Appends the first event of an aggregate. That there is none yet is left to the key: it refuses the row otherwise, which
-- saves the look at the aggregate where there is nothing to see.
-- $1 uuid event id
-- $2 uuid aggregate id
-- $3 smallint type id
-- $4 jsonb payload
-- $5 jsonb metadata
-- $6 boolean whether to return the payload
-- returns a row (version, position, created_at, payload), or none when the id is taken
-- role: foldlog_command
-- uses: events_pkey
insert into foldlog.events (id, aggregate_id, version, type_id, payload, metadata, txid, created_at)
select
    $1,
    $2,
    1,
    $3,
    $4,
    $5,
    case (select txid_offset from foldlog.log where written::xid = xmin)
        when 0 then pg_current_xact_id()
        else foldlog.log_txid()
    end,
    statement_timestamp()
where (select e.id from foldlog.events e where e.id = $1 order by e.aggregate_id limit 1) is null
returning version, position, created_at, case when $6 then payload end as payload
