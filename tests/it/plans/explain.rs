//! Finds the parts of a plan that read a table, or an index, from its beginning to its end, and those that compare each aggregate
//! of a batch with each other one.

use std::collections::HashMap;
use std::fmt;

use foldlog::db::Connection;
use serde_json::Value;
use sqlx::postgres::PgRow;
use sqlx::{AssertSqlSafe, Row as _};

/// Tables that hold so few rows that a scan is the best plan, and why they always will.
const SMALL: &[(&str, &str)] = &[
    ("log", "has exactly one row"),
    ("views", "has one row per projection"),
    ("foldlog_migrations", "has one row per migration"),
    ("_sqlx_migrations", "has one row per migration"),
];

/// The name for a list of aggregates that is read as a whole for each aggregate of another list.
pub(super) const PAIRS: &str = "pairs of aggregates";

/// A plan reads a whole table, or a whole list of aggregates for each aggregate of another list.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct WholeRead {
    pub table: String,
    node: String,
}

impl fmt::Display for WholeRead {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} on {}", self.node, self.table)
    }
}

/// The table and the first column of each index. A condition on another column does not bound what is read.
pub(super) struct Indexes(HashMap<String, (String, String)>);

/// Statements and SQL functions whose plans name a whole table, and why that does not read much.
const EXPECTED: &[(&str, &str, &str)] = &[
    (
        "view/sql/read_log_end.sql",
        "events",
        "`exists` ends at the first row",
    ),
    (
        "log_newest_txid",
        "settled",
        "each row may have the newest snapshot; there are as many as projections and lanes",
    ),
];

/// Whether a statement or function is expected to read this table.
pub(super) fn is_expected(name: &str, read: &WholeRead) -> bool {
    let mut expected = EXPECTED.iter();
    expected.any(|(reader, table, _)| *reader == name && *table == read.table)
}

/// The names and bodies of foldlog's SQL functions without arguments. Those with arguments read no table.
pub(super) async fn functions(connection: &mut Connection) -> Vec<(String, String)> {
    let rows = sqlx::query(
        "select proname::text, prosrc from pg_proc join pg_language l on l.oid = prolang \
         where pronamespace = 'public'::regnamespace and lanname = 'sql' and pronargs = 0",
    )
    .persistent(false)
    .fetch_all(&mut **connection)
    .await
    .unwrap();
    rows.iter().map(|row| (row.get(0), row.get(1))).collect()
}

impl Indexes {
    pub(super) async fn read(connection: &mut Connection) -> Self {
        let rows = sqlx::query(
            "select c.relname::text, i.indrelid::regclass::text, a.attname::text \
             from pg_index i \
             join pg_class c on c.oid = i.indexrelid \
             join pg_attribute a on a.attrelid = i.indrelid and a.attnum = i.indkey[0]",
        )
        .persistent(false)
        .fetch_all(&mut **connection)
        .await
        .unwrap();
        let index = |row: &PgRow| (row.get(0), (row.get(1), row.get(2)));
        Self(rows.iter().map(index).collect())
    }

    /// The table that a node of a plan reads.
    fn table<'a>(&'a self, node: &'a Value) -> Option<&'a str> {
        let of_index = || self.0.get(node["Index Name"].as_str()?);
        let by_index = || of_index().map(|(table, _)| table.as_str());
        node["Relation Name"].as_str().or_else(by_index)
    }

    /// Whether the scan's condition says where in the index to look.
    fn is_bounded(&self, scan: &Value) -> bool {
        let (Some(name), Some(condition)) =
            (scan["Index Name"].as_str(), scan["Index Cond"].as_str())
        else {
            return false;
        };
        let is_part = |c: char| !c.is_alphanumeric() && c != '_';
        self.0
            .get(name)
            .is_some_and(|(_, first)| condition.split(is_part).any(|word| word == first.as_str()))
    }
}

/// The tables that the plan of a prepared statement reads as a whole, and those of the SQL functions that it calls; `None` if the
/// statement has no plan, as `begin` has none.
pub(super) async fn whole_reads(
    connection: &mut Connection,
    indexes: &Indexes,
    name: &str,
    arguments: &str,
) -> Option<Vec<WholeRead>> {
    let execute = match arguments {
        "" => format!("execute {name}"),
        arguments => format!("execute {name} ({arguments})"),
    };
    let explain = format!("explain (costs off, format json) {execute}");
    let rows = sqlx::raw_sql(AssertSqlSafe(explain))
        .fetch_all(&mut **connection)
        .await
        .unwrap_or_else(|e| panic!("{execute}: {e}"));
    let plan: Value = rows.first()?.get(0);
    let mut found = Vec::new();
    collect(indexes, &plan[0]["Plan"], false, &mut found);
    Some(found)
}

/// `limited`: only the first rows of the node are read.
fn collect(indexes: &Indexes, node: &Value, limited: bool, found: &mut Vec<WholeRead>) {
    let kind = node["Node Type"].as_str().unwrap_or_default();
    let is_index_scan = matches!(kind, "Index Scan" | "Index Only Scan" | "Bitmap Index Scan");
    let whole = kind == "Seq Scan" || is_index_scan && !limited && !indexes.is_bounded(node);
    let table = indexes.table(node);
    if let (true, Some(table)) = (whole, table)
        && !table.starts_with("pg_")
        && !SMALL.iter().any(|(small, _)| *small == table)
    {
        found.push(WholeRead {
            table: table.to_owned(),
            node: format!("{kind} {}", node["Index Name"].as_str().unwrap_or_default()),
        });
    }
    if compares_pairs(kind, node) {
        found.push(WholeRead {
            table: PAIRS.to_owned(),
            node: kind.to_owned(),
        });
    }
    let limited = kind == "Limit" || limited && kind == "LockRows";
    for child in node["Plans"].as_array().into_iter().flatten() {
        collect(indexes, child, limited, found);
    }
}

/// Whether the node compares each aggregate of one list with each of another: the time is quadratic in the size of a batch.
fn compares_pairs(kind: &str, node: &Value) -> bool {
    let condition = match kind {
        "Nested Loop" => &node["Join Filter"],
        "CTE Scan" => &node["Filter"],
        _ => return false,
    };
    let condition = condition.as_str().unwrap_or_default();
    [
        "aggregate_id = ",
        "= aggregate_id",
        "aggregate_id)",
        ".id = ",
    ]
    .iter()
    .any(|part| condition.contains(part))
        && !condition.contains("hashed SubPlan")
}
