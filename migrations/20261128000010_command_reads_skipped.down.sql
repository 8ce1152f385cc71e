revoke select on skipped from foldlog_command;
