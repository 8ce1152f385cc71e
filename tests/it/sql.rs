//! Every statement: planned, with the rights of its role.
