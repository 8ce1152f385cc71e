-- Builds with the feed answer it with 503.
drop function feed_horizon();
drop function feed_may_pass(xid8, xid8);
