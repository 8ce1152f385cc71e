//! Reading over HTTP: pages, rows, how fresh they are; and what every answer has in common.

mod every_answer;
mod fresh;
mod pages;
