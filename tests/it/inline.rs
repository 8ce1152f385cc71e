//! Folding in the append's own transaction.
