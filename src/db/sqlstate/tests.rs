use super::*;

/// Every code of appendix A of Postgres 14 to 18, by what it means.
const APPENDIX_A: &[(Kind, &str)] = &[
    (
        Unavailable,
        "08000 08001 08003 08004 08006 08007 08P01 0B000 24000 25000 25001 25002 25003 25004 25005 25006 25007 25008 25P01 \
         25P02 25P03 34000 3B000 3B001 40003 53300 57000 57P01 57P02 57P05",
    ),
    (Waking, "57P03"),
    (Refused, "28000 28P01 3D000 57P04"),
    (Pooler, "26000 42P05"),
    (
        Impaired,
        "0A000 53000 53100 53200 53400 55000 55006 55P02 55P04 58000 58030 58P01 58P02 58P03 F0000 F0001 XX000 XX001 XX002",
    ),
    (
        Installation,
        "0L000 0LP01 0P000 2B000 2BP01 3F000 42501 42702 42703 42704 42725 42804 42809 42846 42883 428C9 42P01 42P10 42P22",
    ),
    (Contended, "40000 40001 40002 40P01 72000"),
    (TimedOut, "25P04 55P03 57014"),
    (Conflict, "23000 23001 23502 23503 23505 23514 23P01"),
    (Limit, "54000 54001 54011 54023"),
    (
        Data,
        "00000 01000 01003 01004 01006 01007 01008 0100C 01P01 02000 02001 09000 0F000 0F001 0Z000 0Z002 10608 20000 21000 \
         22000 22001 22002 22003 22004 22005 22007 22008 22009 2200B 2200C 2200D 2200F 2200G 2200H 2200L 2200M 2200N 2200S \
         2200T 22010 22011 22012 22013 22014 22015 22016 22018 22019 2201B 2201E 2201F 2201G 2201W 2201X 22021 22022 22023 \
         22024 22025 22026 22027 2202E 2202G 2202H 22030 22031 22032 22033 22034 22035 22036 22037 22038 22039 2203A 2203B \
         2203C 2203D 2203E 2203F 2203G 22P01 22P02 22P03 22P04 22P05 22P06 27000 2D000 2F000 2F002 2F003 2F004 2F005 38000 \
         38001 38002 38003 38004 39000 39001 39004 39P01 39P02 39P03 44000 HV000 HV001 HV002 HV004 HV005 HV006 HV007 HV008 \
         HV009 HV00A HV00B HV00C HV00D HV00J HV00K HV00L HV00M HV00N HV00P HV00Q HV00R HV010 HV014 HV021 HV024 HV090 HV091 \
         P0000 P0001 P0002 P0003 P0004",
    ),
    (
        Statement,
        "03000 42000 42601 42602 42611 42622 42701 42710 42712 42723 42803 42830 42939 42P02 42P03 42P04 42P06 42P07 42P08 \
         42P09 42P11 42P12 42P13 42P14 42P15 42P16 42P17 42P18 42P19 42P20 42P21",
    ),
];

/// Fails when a code means something else than reviewed, or when a class has no row in the table.
#[test]
fn every_code_of_appendix_a_has_a_reviewed_meaning() {
    let mut reviewed = 0;
    for (kind, codes) in APPENDIX_A {
        for code in codes.split_ascii_whitespace() {
            let meaning = find(code);
            assert!(!meaning.code.is_empty(), "{code} has no row");
            assert_eq!(meaning.kind, *kind, "{code}");
            reviewed += 1;
        }
    }
    assert!(reviewed > 250, "{reviewed}");
}

/// Fails when an application's own code becomes a 500, or ends a connection.
#[test]
fn a_code_of_an_application_is_a_rejected_row() {
    for code in ["ZX001", "5A000", "AB123", "99999", ""] {
        let meaning = find(code);
        assert_eq!((meaning.kind, meaning.connection), (Data, Keep), "{code}");
    }
}

/// Fails when a row of the table is never found because another one stands before it.
#[test]
fn every_row_of_the_table_is_reachable() {
    for meaning in MEANINGS {
        let code = format!("{:0<5}", meaning.code);
        assert_eq!(find(&code).code, meaning.code, "{code}");
    }
}

/// Fails when a statement is retried although its connection, with which something may be wrong, is kept.
#[test]
fn a_retry_uses_another_connection() {
    for meaning in MEANINGS {
        assert!(
            meaning.max_retries == 0 || meaning.connection != Keep,
            "{meaning:?}"
        );
    }
}
