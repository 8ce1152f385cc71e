//! Migrations: up, down, up; create; views.
