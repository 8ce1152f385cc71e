alter table log drop column required_migration;
