-- The feed shows events in log order `(txid, position)`, and only those before which no further event can appear: feed_horizon()
-- says where that ends. The functions run as the caller, who may read `log` and `events`, and need no privilege on other sessions.
do $outer$
begin
    -- Whether a transaction that the caller's snapshot lists as running has ended since, without an event in this log. The function
    -- is volatile, so that its statement has a new snapshot, in which all events of a transaction that has ended are visible.
    execute replace($create$
        create function {home}.feed_may_pass(running xid8, stored xid8) returns boolean
        language plpgsql
        volatile
        as $$
        begin
            return (
                select pg_visible_in_snapshot(running, pg_current_snapshot())
                    and not exists (select from {home}.events e where e.txid = stored)
            );
        end
        $$
    $create$, '{home}', quote_ident(current_schema()));

    execute replace($create$
        -- No transaction below the returned id, apart from those that the statement sees, can commit an event to this log.
        create function {home}.feed_horizon() returns xid8
        language plpgsql
        stable
        as $$
        declare
            snapshot pg_snapshot := pg_current_snapshot();
            added bigint := (select txid_offset from {home}.log);
            oldest xid8 := (pg_snapshot_xmin(snapshot)::text::bigint + added)::text::xid8;
            -- Ids from 2^62 on are those of no transaction, as in log_newest_txid().
            newest xid8 := (
                select e.txid
                from {home}.events e
                where e.txid < '4611686018427387904'::xid8
                order by e.txid desc, e.position desc
                limit 1
            );
        begin
            if newest is null or newest < oldest then
                return oldest;
            end if;
            -- The log was restored from another cluster, and its offset is not raised yet. Until then every append is refused, and
            -- after that new events get ids above the newest one.
            if newest >= (pg_snapshot_xmax(snapshot)::text::bigint + added)::text::xid8 then
                return '4611686018427387904'::xid8;
            end if;
            -- A standby's snapshot does not list the transactions that run on the primary.
            if pg_is_in_recovery() then
                return oldest;
            end if;
            -- A transaction of another database of the cluster is in the snapshot, too, and never writes to this log. Every role
            -- may see the database and the transaction id of each session. They are read after the snapshot was taken, so a
            -- session that has changed its database since has an id above it. A transaction that has ended in between is not found.
            return coalesce(
                (
                    select (min(possible.txid::text::bigint) + added)::text::xid8
                    from (
                        select running.txid
                        from pg_snapshot_xip(snapshot) as running (txid)
                        where not exists (
                                select
                                from pg_stat_get_activity(null) a
                                join pg_database d on d.oid = a.datid
                                where a.backend_xid = running.txid::xid
                                    and d.datname <> current_database()
                            )
                            and not exists (
                                select
                                from pg_prepared_xacts p
                                where p.transaction = running.txid::xid
                                    and p.database <> current_database()
                            )
                        offset 0
                    ) possible
                    where not {home}.feed_may_pass(
                        possible.txid, (possible.txid::text::bigint + added)::text::xid8
                    )
                ),
                (pg_snapshot_xmax(snapshot)::text::bigint + added)::text::xid8
            );
        end
        $$
    $create$, '{home}', quote_ident(current_schema()));
end
$outer$;
