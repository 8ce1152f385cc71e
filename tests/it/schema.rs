//! The schema as the catalog has it.
