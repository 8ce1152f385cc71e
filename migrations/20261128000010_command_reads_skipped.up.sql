-- A revert folds the past of an aggregate, which leaves out what an operator has skipped.
grant select on skipped to foldlog_command;
