//! The parts of the OpenAPI 3.1 document: operations, and schemas that are derived from the Rust types. The document itself
//! is assembled from the table of [`routes`](super::routes).

mod derived;
mod example;
mod operation;
mod outcomes;
pub(super) mod recorded;
mod schemas;
mod shared_parts;

pub(super) use self::derived::use_const;
pub(super) use self::operation::{CACHE_CONTROL, ETAG, Operation, Response, header, path, query};
pub(super) use self::outcomes::{dry_run, outcomes};
pub(super) use self::schemas::{DomainSchemas, component, reference, rule_broken, shared};
pub(crate) use self::schemas::{EXTENSION, SCHEMAS};
pub(super) use self::shared_parts::SharedParts;
