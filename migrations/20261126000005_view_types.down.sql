alter table views
    drop column end_type,
    drop column first_type;
