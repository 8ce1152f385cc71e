-- A command host recognizes an aggregate that has ended by the claim of its newest event, instead of reading all its events.
grant select on locker to foldlog_command;
