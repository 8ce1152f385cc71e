-- One at a time creates views, until its transaction ends.
-- role: owner
select pg_advisory_xact_lock(hashtextextended('foldlog view definitions', 0))
