//! Reading over HTTP: pages, rows, consistency; and what all responses have in common.

mod ended;
mod every_answer;
mod fresh;
mod pages;
