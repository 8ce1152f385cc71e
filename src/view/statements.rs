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
    table: String,
    /// The condition that the table's generation serves readers with this code's definition.
    serves: String,
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
    /// Composes the statements over `table`, which has these columns beside `id` and `version`, for code whose view has the
    /// definition with this hash.
    pub(super) fn new(table: &str, definition_hash: &str, columns: &[Column]) -> Self {
        let serves = format!(
            "exists (select from foldlog.views g where g.name = '{table}' and g.serves and g.definition_hash = '{definition_hash}')"
        );
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
                "select g.serves, v.viewed, v.viewed_version from (select {serves} as serves) g left join lateral (\
                 select to_json(v.*) as viewed, v.version as viewed_version from foldlog.\"{table}\" v \
                 where v.id = $1 and g.serves limit 1) v on true"
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
            table: table.to_owned(),
            serves,
            columns,
            names,
            assignments,
        }
    }

    /// A statement of another module over this table: `template`, the text of a file beside its caller, with the table's
    /// name in place of `{table}`, its columns in place of `{columns}`, what an upsert assigns to them in place of
    /// `{assignments}`, and the condition that its generation serves this code's definition in place of `{serves}`. Composed once per process.
    pub fn fill(&self, template: &'static str) -> SqlStr {
        // Compared by address, because every request gets here and a template is a constant of its caller.
        let is_same = |known: &str| std::ptr::eq(known, template);
        let filled = self.filled.read().unwrap_or_else(PoisonError::into_inner);
        if let Some((_, sql)) = filled.iter().find(|(known, _)| is_same(known)) {
            return sql.clone();
        }
        drop(filled);
        let sql = template
            .replace("{serves}", &self.serves)
            .replace("{table}", &self.table)
            .replace("{columns}", &self.names)
            .replace("{assignments}", &self.assignments);
        let sql = text(sql);
        let mut filled = self.filled.write().unwrap_or_else(PoisonError::into_inner);
        if !filled.iter().any(|(known, _)| is_same(known)) {
            filled.push((template, sql.clone()));
        }
        sql
    }

    /// As [`Self::fill`], for a statement that also reads the table of another generation, in place of `{other}`. It is composed anew
    /// each time.
    pub fn fill_beside(&self, template: &'static str, other: &Self) -> SqlStr {
        text(
            self.fill(template)
                .as_str()
                .replace("{other}", &other.table),
        )
    }

    /// The name of the table.
    pub(super) fn table(&self) -> &str {
        &self.table
    }

    /// One row by its id. It always returns one row, which says whether the generation serves this code's definition.
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
    /// column's own type, so an index on it can serve; they come first, so that Postgres reads them even if there is no row. Without
    /// rows it returns one row whose id is null.
    pub(super) fn list(&self, filters: &[&str], first: bool) -> SqlStr {
        let (table, serves) = (&self.table, &self.serves);
        let above = if first { ">=" } else { ">" };
        let equal = |c: &&str| format!(" and v.\"{c}\" = f.\"{c}\"");
        let wheres: String = filters.iter().map(equal).collect();
        let values = if filters.is_empty() {
            String::new()
        } else {
            format!(
                "cross join lateral json_populate_record(null::foldlog.\"{table}\", case when g.serves then $3::text::json end) f "
            )
        };
        text(format!(
            "select g.serves, v.id, v.viewed, v.viewed_version from (select {serves} as serves) g {values}left join lateral (\
             select v.id, to_json(v.*) as viewed, v.version as viewed_version from foldlog.\"{table}\" v \
             where v.id {above} $1{wheres} and g.serves order by v.id limit $2) v on true order by v.id"
        ))
    }

    /// Creates a schema with the name of the table, for the time until the table is moved to foldlog's schema.
    pub(super) fn create_schema(&self) -> SqlStr {
        text(format!("create schema \"{}\"", self.table))
    }

    /// The ids of those rows in the JSON array `$1` whose columns equal the values in the JSON object `$2`, as [`Self::list`] compares
    /// them. The values come first, so that Postgres reads them even if there is no row.
    pub(super) fn matching(&self, filters: &[&str]) -> SqlStr {
        let (table, serves) = (&self.table, &self.serves);
        let equal = |c: &&str| format!(" and r.\"{c}\" = f.\"{c}\"");
        let wheres: String = filters.iter().map(equal).collect();
        text(format!(
            "select g.serves, r.id from (select {serves} as serves) g cross join lateral \
             json_populate_record(null::foldlog.\"{table}\", case when g.serves then $2::text::json end) f left join lateral \
             json_populate_recordset(null::foldlog.\"{table}\", case when g.serves then $1::text::json end) r on true{wheres}"
        ))
    }

    /// Grants the hosts' roles what each may do with the table.
    pub(super) fn grants(&self) -> SqlStr {
        let table = &self.table;
        text(format!(
            "grant select on foldlog.\"{table}\" to foldlog_command, foldlog_query; \
             grant select, insert, update, delete on foldlog.\"{table}\" to foldlog_projection"
        ))
    }

    /// Creates the unique index of a set rule, with the rule's definition as its comment: Postgres would tell the definition in
    /// another spelling.
    pub(super) fn set_rule(&self, rule: &SetRule) -> SqlStr {
        let (name, unique_on) = (self.rule_index(rule), rule.unique_on);
        text(format!(
            "create unique index \"{name}\" on foldlog.\"{}\" {unique_on}; comment on index foldlog.\"{name}\" is '{}'",
            self.table,
            unique_on.replace('\'', "''")
        ))
    }

    /// Drops the unique index of a set rule.
    pub(super) fn drop_set_rule(&self, rule: &SetRule) -> SqlStr {
        text(format!("drop index foldlog.\"{}\"", self.rule_index(rule)))
    }

    /// The name of the unique index of a set rule: the rule's name and, from the second generation on, the generation's number.
    pub(super) fn rule_index(&self, rule: &SetRule) -> String {
        let number = self.table.find('#').map_or("", |at| &self.table[at..]);
        format!("{}{number}", rule.name)
    }

    /// Refuses inline appends until the projection has folded its `types` below the transaction id `log_end`.
    pub(super) fn create_guard(&self, types: &Range<i16>, log_end: &str) -> SqlStr {
        let table = &self.table;
        text(format!(
            "create or replace trigger \"{table}_incomplete\" before insert on foldlog.\"{table}\" for each statement \
             execute function foldlog.refuse_incomplete('{table}', '{}', '{}', '{log_end}')",
            types.start, types.end
        ))
    }

    /// Ends what [`Self::create_guard`] began.
    pub(super) fn drop_guard(&self) -> SqlStr {
        let table = &self.table;
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
