//! Properties of folds and batches.
