//! Catching up: many workers, late commits, what a pass costs.
