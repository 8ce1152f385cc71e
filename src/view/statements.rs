//! The only dynamic SQL: table and column names are identifiers that come from the program text (checked by
//! [`is_identifier`]), everything else is a bind.

use std::ops::Range;
use std::sync::{PoisonError, RwLock};

use sqlx::{AssertSqlSafe, SqlSafeStr, SqlStr};

use super::Column;
use crate::domain::SetRule;

/// The statements over one view table.
#[derive(Debug)]
pub struct Statements {
    table: &'static str,
    columns: Vec<String>,
    /// The columns as a list, quoted.
    names: String,
    /// The assignments of an upsert's `do update set`.
    assignments: String,
    get: SqlStr,
    upsert: SqlStr,
    delete: SqlStr,
    /// The statements of other modules, each with its template.
    filled: RwLock<Vec<(&'static str, SqlStr)>>,
}

impl Statements {
    /// Composes the statements over `table`, which has these columns beside `id` and `version`.
    pub(super) fn new(table: &'static str, columns: &[Column]) -> Self {
        let columns: Vec<String> = columns.iter().map(|c| c.name.clone()).collect();
        let names = columns
            .iter()
            .map(|c| format!("\"{c}\""))
            .collect::<Vec<_>>()
            .join(", ");
        let assignments = columns
            .iter()
            .map(|c| format!("\"{c}\" = excluded.\"{c}\""))
            .collect::<Vec<_>>()
            .join(", ");
        Self {
            get: text(format!(
                "select to_json(v) as viewed, v.version as viewed_version from foldlog.\"{table}\" v where v.id = $1"
            )),
            upsert: text(format!(
                "insert into foldlog.\"{table}\" (id, version, {names}) \
                 select id, version, {names} from json_populate_recordset(null::foldlog.\"{table}\", $1::text::json) \
                 on conflict (id) do update set version = excluded.version, {assignments}"
            )),
            delete: text(format!(
                "delete from foldlog.\"{table}\" where id = any ($1)"
            )),
            filled: RwLock::default(),
            table,
            columns,
            names,
            assignments,
        }
    }

    /// A statement of another module over this table: `template`, the text of a file beside its caller, with the table's
    /// name in place of `{table}`, its columns in place of `{columns}`, and what an upsert assigns to them in place of
    /// `{assignments}`. Composed once per process.
    pub fn fill(&self, template: &'static str) -> SqlStr {
        // Compared by address, because every request gets here and a template is a constant of its caller.
        let is_same = |known: &str| std::ptr::eq(known, template);
        let filled = self.filled.read().unwrap_or_else(PoisonError::into_inner);
        if let Some((_, sql)) = filled.iter().find(|(known, _)| is_same(known)) {
            return sql.clone();
        }
        drop(filled);
        let sql = template
            .replace("{table}", self.table)
            .replace("{columns}", &self.names)
            .replace("{assignments}", &self.assignments);
        let sql = text(sql);
        let mut filled = self.filled.write().unwrap_or_else(PoisonError::into_inner);
        if !filled.iter().any(|(known, _)| is_same(known)) {
            filled.push((template, sql.clone()));
        }
        sql
    }

    /// One row by its id.
    pub(super) fn get(&self) -> SqlStr {
        self.get.clone()
    }

    /// Writes the rows of the JSON array `$1`.
    pub(super) fn upsert(&self) -> SqlStr {
        self.upsert.clone()
    }

    /// Deletes the rows with the ids `$1`.
    pub(super) fn delete(&self) -> SqlStr {
        self.delete.clone()
    }

    /// A page of rows: `$1` the last id of the page before, or the nil id for the `first` page, which is an id like any
    /// other; `$2` how many, `$3` a JSON object that holds the value of each column in `filters`. Values are read by the
    /// column's own type, so an index on it can serve.
    pub(super) fn list(&self, filters: &[&str], first: bool) -> SqlStr {
        let (table, above) = (self.table, if first { ">=" } else { ">" });
        let equal = |c: &&str| {
            format!(
                " and v.\"{c}\" = (json_populate_record(null::foldlog.\"{table}\", $3::text::json)).\"{c}\""
            )
        };
        let wheres: String = filters.iter().map(equal).collect();
        text(format!(
            "select v.id, to_json(v) as viewed, v.version as viewed_version from foldlog.\"{table}\" v \
             where v.id {above} $1{wheres} order by v.id limit $2"
        ))
    }

    /// The ids of those rows in the JSON array `$1` whose columns equal the values in the JSON object `$2`, as [`Self::list`] compares
    /// them. The values come first, so that Postgres reads them even if there is no row.
    pub(super) fn matching(&self, filters: &[&str]) -> SqlStr {
        let table = self.table;
        let equal = |c: &&str| format!(" and r.\"{c}\" = f.\"{c}\"");
        let wheres: String = filters.iter().map(equal).collect();
        text(format!(
            "select r.id from json_populate_record(null::foldlog.\"{table}\", $2::text::json) f \
             left join json_populate_recordset(null::foldlog.\"{table}\", $1::text::json) r on true{wheres}"
        ))
    }

    /// Grants the hosts' roles what each may do with the table.
    pub(super) fn grants(&self) -> SqlStr {
        let table = self.table;
        text(format!(
            "grant select on foldlog.\"{table}\" to foldlog_command, foldlog_query; \
             grant select, insert, update, delete on foldlog.\"{table}\" to foldlog_projection"
        ))
    }

    /// Creates the unique index of a set rule, with the rule's definition as its comment: Postgres would tell the definition in
    /// another spelling.
    pub(super) fn set_rule(&self, rule: &SetRule) -> SqlStr {
        let SetRule {
            name, unique_on, ..
        } = rule;
        text(format!(
            "create unique index \"{name}\" on foldlog.\"{}\" {unique_on}; comment on index foldlog.\"{name}\" is '{}'",
            self.table,
            unique_on.replace('\'', "''")
        ))
    }

    /// Drops the unique index of a set rule.
    pub(super) fn drop_set_rule(rule: &SetRule) -> SqlStr {
        text(format!("drop index foldlog.\"{}\"", rule.name))
    }

    /// Refuses inline appends until the projection has folded its `types` below the transaction id `log_end`.
    pub(super) fn create_guard(&self, types: &Range<i16>, log_end: &str) -> SqlStr {
        let table = self.table;
        text(format!(
            "create or replace trigger \"{table}_incomplete\" before insert on foldlog.\"{table}\" for each statement \
             execute function foldlog.refuse_incomplete('{table}', '{}', '{}', '{log_end}')",
            types.start, types.end
        ))
    }

    /// Ends what [`Self::create_guard`] began.
    pub(super) fn drop_guard(&self) -> SqlStr {
        let table = self.table;
        text(format!(
            "drop trigger if exists \"{table}_incomplete\" on foldlog.\"{table}\""
        ))
    }

    /// The columns beside `id` and `version`.
    pub(super) fn columns(&self) -> &[String] {
        &self.columns
    }
}

/// The DDL of a view, which is part of the program text.
pub(super) fn definition(ddl: &'static str) -> SqlStr {
    AssertSqlSafe(ddl).into_sql_str()
}

/// Whether `name` can be used in SQL text without escaping, apart from double quotes around it.
pub(super) fn is_identifier(name: &str) -> bool {
    let letter = |c: char| c.is_ascii_lowercase() || c == '_';
    name.starts_with(letter)
        && name.chars().all(|c| letter(c) || c.is_ascii_digit())
        && name.len() <= 63
}

fn text(sql: String) -> SqlStr {
    AssertSqlSafe(sql).into_sql_str()
}
