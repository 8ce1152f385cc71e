//! Arguments for the statements. Most follow from the types in a statement's header; those that are parsed have a row here.

/// Functions for the arguments below: ids of the newest events, and of events that do not exist where there are too few.
pub(super) const FUNCTIONS: &str = "
    create function pg_temp.ids(n bigint) returns uuid[] language sql as '
        select array_agg(coalesce(e.id, gen_random_uuid()))
        from generate_series(1, n) as place
        left join (
            select case when position % 2 = 0 then id else aggregate_id end as id, row_number() over (order by position desc) as place
            from events
            order by position desc
            limit n
        ) e using (place)'";

/// How many values an array argument has: a request or a batch of one event, and a large one.
const ARRAY_SIZES: &[u32] = &[1, 2000];

/// Statements with arguments that Postgres parses when it plans: each file with sets of arguments as SQL.
const PARSED: &[(&str, &[&str])] = &[
    (
        "migrations/sql/take_over_ledger.sql",
        &["'{1}', '{events}', '{00}', '{null}'"],
    ),
    (
        "projection/sql/merge_lanes.sql",
        &["'users', 2, '1:9000000000000000000:', null, 0"],
    ),
    (
        "projection/sql/read.sql",
        &[
            "'users', null, null, 1000::smallint, 2000::smallint, 128, true, true",
            "'users', 0::smallint, '1:9000000000000000000:', 1000::smallint, 2000::smallint, 2000, false, false",
        ],
    ),
    (
        "projection/sql/write.sql",
        &[
            "'users', 0::smallint, 255::smallint, 1, '{}', '1:9000000000000000000:', null, 0, \
             pg_temp.ids(1), pg_temp.ids(1), '{}', '{}', '{}', '{}', '{}', '[]', '1:1:', null, 0, '{}', '1'",
            "'users', 0::smallint, 255::smallint, 1, pg_temp.ids(100), '1:9000000000000000000:', null, 0, \
             pg_temp.ids(2000), pg_temp.ids(2000), '{}', '{}', '{}', '{}', pg_temp.ids(100), '[]', '1:1:', null, 0, '{}', '1'",
        ],
    ),
    (
        "projection/inline/sql/write_inline.sql",
        &[
            "'users', pg_temp.ids(1), pg_temp.ids(1), '{}', '[]', 0",
            "'users', pg_temp.ids(1000), pg_temp.ids(1000), pg_temp.ids(100), '[]', 0",
        ],
    ),
    (
        "projection/inline/sql/append_known.sql",
        &[
            "pg_temp.ids(1), pg_temp.ids(1), '{1000}', '{\"{}\"}', '{\"{}\"}', '{3}', pg_temp.ids(1), '{now}', null, '{\"{}\"}', '[]', \
             'users', 'users', 0",
            "pg_temp.ids(64), pg_temp.ids(64), array_fill(1000::smallint, array[64]), array_fill('{}'::jsonb, array[64]), \
             array_fill('{}'::jsonb, array[64]), array_fill(3, array[64]), pg_temp.ids(64), \
             array_fill(statement_timestamp(), array[64]), null, array_fill('{}'::text, array[64]), '[]', 'users', 'users', null",
        ],
    ),
    (
        "projection/reproject/sql/claim_slice.sql",
        &[
            "'users#2', '1:9000000000000000000:', (pg_temp.ids(1))[1], 0, (pg_temp.ids(1))[1], 1, 1000::smallint, 2000::smallint, \
             '{}', '{}'",
        ],
    ),
    (
        "projection/reproject/sql/read_slice.sql",
        &[
            "'1:9000000000000000000:', (pg_temp.ids(1))[1], 0, (pg_temp.ids(1))[1], 1, 1000::smallint, 2000::smallint, 2000, \
             'users'",
        ],
    ),
    ("projection/verify/sql/store_rows.sql", &["'[]'"]),
    (
        "projection/verify/sql/store_differences.sql",
        &["'users', pg_temp.ids(1), '{1}', '{a}', '{1}', '{2}'"],
    ),
];

/// The files that have a row of their own.
pub(super) fn listed() -> impl Iterator<Item = &'static str> {
    PARSED.iter().map(|(file, _)| *file)
}

/// Sets of arguments for a statement whose header has these types.
pub(super) fn arguments(file: &str, types: &[String]) -> Vec<String> {
    let parsed = PARSED.iter().find(|(listed, _)| *listed == file);
    if let Some((_, sets)) = parsed {
        return sets.iter().map(ToString::to_string).collect();
    }
    let has_arrays = types.iter().any(|name| name.ends_with("[]"));
    let sizes = if has_arrays { ARRAY_SIZES } else { &[1] };
    let set = |&size: &u32| {
        let values = types.iter().map(|name| argument(name, size));
        values.collect::<Vec<_>>().join(", ")
    };
    sizes.iter().map(set).collect()
}

/// A value of a type, or an array of so many. Ids exist, so that estimates are those for values that occur.
fn argument(name: &str, size: u32) -> String {
    match name.strip_suffix("[]") {
        Some("uuid") => format!("pg_temp.ids({size})"),
        Some(element) => format!(
            "array_fill({}::{element}, array[{size}])",
            argument(element, 1)
        ),
        None => match name {
            "uuid" => "(pg_temp.ids(1))[1]".to_owned(),
            "text" => "'users'".to_owned(),
            "smallint" => "1000::smallint".to_owned(),
            "integer" => "3".to_owned(),
            "bigint" => "1000".to_owned(),
            "bool" | "boolean" => "true".to_owned(),
            "jsonb" | "json" => format!("'{{}}'::{name}"),
            "timestamptz" => "statement_timestamp()".to_owned(),
            "bytea" => "'\\x00'::bytea".to_owned(),
            _ => panic!("add a value of the type {name}"),
        },
    }
}
