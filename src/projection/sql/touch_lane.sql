-- Says that a worker has looked for events and has found none. Not while another worker holds the lane: then that one says so.
-- $1 text lock domain
-- $2 smallint the lane's first slot
-- role: foldlog_projection
-- uses: settled_pkey
update foldlog.settled
set settled_at = statement_timestamp()
where lock_domain = $1
    and first in (
        select s.first
        from foldlog.settled s
        where s.lock_domain = $1
            and s.first = $2
        limit 1
        for update skip locked
    )
