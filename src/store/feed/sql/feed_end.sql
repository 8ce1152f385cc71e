-- The newest event that the feed shows.
-- returns a row (txid, position); none while the feed is empty
-- role: foldlog_query
-- uses: events_txid_position_idx
with horizon as materialized (
    select foldlog.feed_horizon() as txid
)
select e.txid::text as txid, e.position
from horizon
cross join lateral (
    select e.txid, e.position
    from foldlog.events e
    where e.txid < horizon.txid
    order by e.txid desc, e.position desc
    limit 1
) e
