-- The event types that the projection of a view folds: from first_type on, before end_type. When a new build folds more types,
-- `migrate` notices it here and lets the projection look at the whole log again. Null until a build that knows the columns
-- has migrated.
alter table views
    add column first_type smallint,
    add column end_type smallint;
