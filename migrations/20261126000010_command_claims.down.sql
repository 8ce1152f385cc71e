-- Nothing is lost. Command hosts of the build that needs the grant fail without it.
revoke select on locker from foldlog_command;
