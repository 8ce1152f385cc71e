//! The defects of the usual hand-written version, each a test.
