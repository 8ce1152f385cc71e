//! Rules of this repository.
