use crate::*;

fn parse(text: &str) -> Result<Csv, DataError> {
    parse_with(text, CsvOptions::default())
}

fn parse_with(text: &str, options: CsvOptions) -> Result<Csv, DataError> {
    Csv::parse("t.csv", text.as_bytes(), &options)
}

fn cells(table: &Csv) -> Vec<Vec<&str>> {
    (0..table.len()).map(|row| (0..table.names().len()).map(|column| table.cell(row, column)).collect()).collect()
}

#[test]
fn quotes_breaks_and_ends() {
    let table = parse("\u{feff}a,\"b,\"\"c\"\"\"\r\n1,\"two\nlines\"\r\n\"\",x\"y\r\n3,\r\n\r\n\n").unwrap();
    assert_eq!(table.names(), ["a", "b,\"c\""]);
    assert_eq!(cells(&table), [["1", "two\nlines"], ["", "x\"y"], ["3", ""]]);
    assert_eq!((0..3).map(|row| table.line(row)).collect::<Vec<_>>(), [2, 4, 5]);
    let other = parse_with("a;'b;'\n1;2", CsvOptions { delimiter: b';', quote: b'\'', ..CsvOptions::default() }).unwrap();
    assert_eq!((other.names(), cells(&other)), (&["a".to_owned(), "b;".to_owned()][..], vec![vec!["1", "2"]]));
    assert_eq!(other.column("b;").unwrap(), 1);
    assert_eq!(cells(&parse("a\nx\\\n").unwrap()), [["x\\"]]);
}

#[test]
fn bad_tables_name_the_line() {
    let error = |text: &str| parse(text).unwrap_err();
    assert!(matches!(error("a,b\r\n1,2\r\n1,2,3\r\n"), DataError::Ragged { line: 3, byte: 10, expected: 2, found: 3, .. }));
    assert!(matches!(error("a,b\n1,2\n\n1,2\n"), DataError::Ragged { line: 3, byte: 8, expected: 2, found: 1, .. }));
    assert!(matches!(error("\u{feff}a,b\n1\n"), DataError::Ragged { line: 2, byte: 7, .. }));
    assert!(matches!(error("a,b\n\"x\n\",2\n3,\"4\n5,6\n"), DataError::Quote { line: 4, .. }));
    assert!(matches!(error("a,b\n1,\"2\"x\n"), DataError::Quote { line: 2, .. }));
    assert!(matches!(error("a,b,a\n1,2,3\n"), DataError::DuplicateColumn { name, .. } if name == "a"));
    for empty in ["", "\n", "a,b", "a,b\r\n\r\n"] {
        assert!(matches!(error(empty), DataError::Empty { .. }), "{empty:?}");
    }
    assert!(matches!(Csv::parse("t", b"a\n1\n\xff\n", &CsvOptions::default()), Err(DataError::Utf8 { line: 3, .. })));
    for (delimiter, quote) in [(b',', b','), (b'\n', b'"'), (b',', b'\r'), (0xff, b'"')] {
        let options = CsvOptions { delimiter, quote, ..CsvOptions::default() };
        assert!(matches!(parse_with("a\n1", options), Err(DataError::Delimiter { .. })));
    }
}

#[test]
fn numbers_in_the_order_of_reading() {
    let table = parse("a,b,c\n1, 2.5 ,x\n-3e2,.5,y\n").unwrap();
    assert_eq!(table.numbers(&[0, 1]).unwrap(), [1.0, 2.5, -300.0, 0.5]);
    assert_eq!(table.numbers(&[]).unwrap(), []);
    assert!(table.is_numeric(1) && !table.is_numeric(2));
    assert!(matches!(table.numbers(&[0, 2]), Err(DataError::NotANumber { line: 2, column, found, .. }) if column == "c" && found == "x"));
    assert!(matches!(table.numbers(&[3]), Err(DataError::NoColumn { column: 3, columns: 3, .. })));
    assert!(
        matches!(table.column("d"), Err(DataError::UnknownColumn { name, available, .. }) if name == "d" && available == ["a", "b", "c"])
    );
    for text in ["inf", "NaN", "1e999", "-infinity"] {
        let error = parse(&format!("a\r\n1\r\n{text}\r\n")).unwrap().numbers(&[0]).unwrap_err();
        assert!(matches!(&error, DataError::NonFiniteNumber { line: 3, found, .. } if found == text), "{error}");
    }
    // The first bad cell, row by row.
    let table = parse("a,b\n1,x\ny,2\n").unwrap();
    assert!(matches!(table.numbers(&[0, 1]), Err(DataError::NotANumber { line: 2, column, .. }) if column == "b"));
    assert_eq!(table.numbers(&[0, 1]).unwrap_err().to_string(), "t.csv: line 2, column \"b\": expected a number, found \"x\"");
}

#[test]
fn missing_values() {
    let text = "a,b\n1,u\n ,v\n?,u\n4,?\n";
    let with = |policy, missing: &[&str]| {
        parse_with(text, CsvOptions { policy, missing: missing.iter().map(|&x| x.into()).collect(), ..CsvOptions::default() }).unwrap()
    };
    let refuse = with(MissingValues::Refuse, &["?"]);
    assert!(matches!(refuse.numbers(&[0]), Err(DataError::MissingValue { line: 3, column, .. }) if column == "a"));
    assert!(matches!(refuse.categories(1), Err(DataError::MissingValue { line: 5, column, .. }) if column == "b"));
    let without = with(MissingValues::Refuse, &[]);
    assert_eq!(without.categories(1).unwrap().names, ["?", "u", "v"]);
    let dropped = with(MissingValues::DropRow, &["?"]);
    assert_eq!((cells(&dropped), dropped.line(0)), (vec![vec!["1", "u"]], 2));
    let kept = with(MissingValues::Keep, &["?"]);
    let numbers = kept.numbers(&[0]).unwrap();
    assert!(numbers[1].is_nan() && numbers[2].is_nan() && (numbers[0], numbers[3]) == (1.0, 4.0));
    assert_eq!(kept.categories(1).unwrap(), Categories { names: vec!["".into(), "u".into(), "v".into()], codes: vec![1, 2, 1, 0] });
    assert!(matches!(kept.labelled(1), Err(DataError::NotFinite { row: 1, column: 0, .. })));
    let all = parse_with("a\n?\n", CsvOptions { policy: MissingValues::DropRow, missing: vec!["?".into()], ..CsvOptions::default() });
    assert!(matches!(all, Err(DataError::Empty { .. })));
}

#[test]
fn classes_in_the_order_of_numbers_or_of_texts() {
    let categories = |text: &str| parse(text).unwrap().categories(0).unwrap();
    let numbers = categories("y\n10\n9\n10.0\n-0\n0\n");
    assert_eq!((numbers.names, numbers.codes), (vec!["-0".into(), "9".into(), "10".into()], vec![2, 1, 2, 0, 0]));
    let texts = categories("y\n10\n9\nb\nB\n");
    assert_eq!((texts.names, texts.codes), (vec!["10".into(), "9".into(), "B".into(), "b".into()], vec![0, 1, 3, 2]));
}

#[test]
fn a_table_as_a_data_set() {
    let table = parse("x,kind,colour\n1,b,red\n2,a,\"dark blue\"\n3,b,red\n").unwrap();
    let LabelledTable { data, features } = table.labelled(table.column("kind").unwrap()).unwrap();
    assert_eq!(features, ["x", "colour=dark blue", "colour=red"]);
    assert_eq!(data.features, [1.0, 0.0, 1.0, 2.0, 1.0, 0.0, 3.0, 0.0, 1.0]);
    assert_eq!((data.labels, data.class_names, data.classes), (vec![1, 0, 1], vec!["a".to_owned(), "b".to_owned()], 2));
    assert!(matches!(parse("y\n1\n").unwrap().labelled(0), Err(DataError::NoFeatures { .. })));
    assert!(matches!(table.labelled(3), Err(DataError::NoColumn { .. })));
    // A number that is not finite makes no category of every other.
    let infinite = parse("x,y\n1,a\ninf,b\n").unwrap();
    assert!(matches!(infinite.labelled(1), Err(DataError::NonFiniteNumber { line: 3, column, .. }) if column == "x"));
    let mistyped = format!("x,y\n1o,a\n{}", (0..9).map(|i| format!("{i},b\n")).collect::<String>());
    let limited = |max_categories| parse_with(&mistyped, CsvOptions { max_categories, ..CsvOptions::default() }).unwrap().labelled(1);
    assert_eq!(limited(10).unwrap().features.len(), 10);
    assert!(matches!(limited(9), Err(DataError::Categories { column, found: 10, limit: 9, .. }) if column == "x"));
    let wide = parse("x,y\n1e300,a\n").unwrap();
    assert!(matches!(wide.labelled(1), Err(DataError::NotFinite { row: 0, column: 0, .. })));
}

#[test]
fn files_plain_and_compressed_up_to_a_limit() {
    let text = b"a,b\n1,2\n";
    let folder = super::folder(&[("plain", text), ("packed", &super::gzip(text))]);
    for name in ["plain", "packed"] {
        let read = |max_bytes| Csv::read(folder.path().join(name), &CsvOptions { max_bytes, ..CsvOptions::default() });
        assert_eq!(read(8).unwrap().numbers(&[0, 1]).unwrap(), [1.0, 2.0]);
        assert!(matches!(read(7), Err(DataError::TooLarge { limit: 7, .. })));
    }
    assert!(matches!(Csv::read(folder.path().join("none"), &CsvOptions::default()), Err(DataError::Io { .. })));
}

mod properties {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn what_is_written_is_read_back(
            rows in prop::collection::vec(prop::collection::vec("[a-z,\"\n\r é]{0,5}", 3), 1..6), crlf: bool,
        ) {
            let end = if crlf { "\r\n" } else { "\n" };
            let quoted = |cell: &String| format!("\"{}\"", cell.replace('"', "\"\""));
            let line = |cells: &Vec<String>| cells.iter().map(quoted).collect::<Vec<_>>().join(",") + end;
            let text = format!("a,b,c{end}{}", rows.iter().map(line).collect::<String>());
            let table = parse(&text).unwrap();
            prop_assert_eq!(cells(&table), rows.iter().map(|row| row.iter().map(String::as_str).collect::<Vec<_>>()).collect::<Vec<_>>());
            // A row begins where its line says.
            let lines: Vec<&str> = text.split('\n').collect();
            for (row, cells) in rows.iter().enumerate() {
                let begins = quoted(&cells[0]);
                let first = begins.split('\n').next().unwrap();
                prop_assert!(lines[table.line(row) - 1].starts_with(first));
            }
        }

        #[test]
        fn foreign_text_never_panics(text in "[a-c1,;\"\n\r ]{0,60}", policy: bool) {
            let policy = if policy { MissingValues::Keep } else { MissingValues::DropRow };
            if let Ok(table) = parse_with(&text, CsvOptions { policy, ..CsvOptions::default() }) {
                for column in 0..table.names().len() {
                    let _ = (table.categories(column), table.numbers(&[column]), table.labelled(column));
                }
            }
        }
    }
}
