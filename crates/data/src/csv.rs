//! Tables as text (RFC 4180): a first line of column names, then one row per line; cells in quotes may hold delimiters, line
//! breaks and doubled quotes.
//!
//! The reader is our own because a message about a row must name its line: of files with CRLF and of rows behind blank lines,
//! the crate `csv` gives another one, and it takes a quote that is never closed.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use crate::files::Source;
use crate::{DataError, Dataset};

/// How a table is written, and what is missing in it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CsvOptions {
    /// What parts cells: an ASCII character, usually `b','`, `b';'` or `b'\t'`.
    pub delimiter: u8,
    /// What encloses cells; an ASCII character.
    pub quote: u8,
    /// Texts that stand for a missing value, such as `NA` or `?`, besides a blank cell.
    pub missing: Vec<String>,
    /// What is done about missing values.
    pub policy: MissingValues,
    /// The most bytes that are read, of a compressed file after decompression.
    pub max_bytes: u64,
    /// The most categories of a column that become features: every category costs a number in every row, and one mistyped
    /// number would make as many of a column as it has rows.
    pub max_categories: usize,
}

impl Default for CsvOptions {
    /// Commas, double quotes, blank cells refused, at most 1 GiB and 1000 categories.
    fn default() -> Self {
        Self { delimiter: b',', quote: b'"', missing: Vec::new(), policy: MissingValues::Refuse, max_bytes: 1 << 30, max_categories: 1000 }
    }
}

/// What is done about missing values.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MissingValues {
    /// They are errors, when their column is read.
    Refuse,
    /// Rows with any are left out.
    DropRow,
    /// Missing numbers are NaN, missing categories the category whose name is empty.
    Keep,
}

/// A table of texts, whose columns are read as numbers or as categories.
///
/// ```
/// use gradus_data::{Csv, CsvOptions};
///
/// let text = "size,colour,kind\n1.5,red,a\n2.5,blue,b\n0.5,red,b\n";
/// let table = Csv::parse("example", text.as_bytes(), &CsvOptions::default())?;
/// assert_eq!(table.numbers(&[table.column("size")?])?, [1.5, 2.5, 0.5]);
///
/// let labelled = table.labelled(table.column("kind")?)?;
/// assert_eq!(labelled.data.class_names, ["a", "b"]);
/// // A column of texts becomes one feature for each of them.
/// assert_eq!(labelled.features, ["size", "colour=blue", "colour=red"]);
/// assert_eq!(labelled.data.row(1), [2.5, 1.0, 0.0]);
/// # Ok::<(), gradus_data::DataError>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Csv {
    file: PathBuf,
    names: Vec<String>,
    /// The line where each row begins.
    lines: Vec<usize>,
    /// All cells one behind the other, and where each ends.
    text: String,
    ends: Vec<usize>,
    options: CsvOptions,
}

/// The values of a column of names.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Categories {
    /// The different names: in the order of the numbers if all are numbers, else by code point. Texts of the same number
    /// are one category, named as where it comes first.
    pub names: Vec<String>,
    /// For each row the index of its name.
    pub codes: Vec<usize>,
}

/// A table with a column of classes.
#[derive(Clone, Debug, PartialEq)]
pub struct LabelledTable {
    /// The rows, and the names of their classes.
    pub data: Dataset,
    /// The name of each feature: a column's, or `column=category`.
    pub features: Vec<String>,
}

impl Csv {
    /// Reads a file, plain or gzip.
    ///
    /// # Errors
    /// [`DataError::Io`], [`DataError::Gzip`], [`DataError::TooLarge`], and those of [`parse`](Self::parse).
    pub fn read(file: impl AsRef<Path>, options: &CsvOptions) -> Result<Self, DataError> {
        let file = file.as_ref();
        let bytes = Source::open(file)?.take(options.max_bytes.saturating_add(1))?;
        if bytes.len() as u64 > options.max_bytes {
            return Err(DataError::TooLarge { file: file.into(), limit: options.max_bytes });
        }
        Self::parse(file, &bytes, options)
    }

    /// Reads text that is in memory already; `file` is its name in messages. A byte-order mark is passed over, and so are blank
    /// lines at the end.
    ///
    /// # Errors
    /// [`DataError::Delimiter`] for impossible options, [`DataError::Utf8`], [`DataError::Quote`], [`DataError::Ragged`] and
    /// [`DataError::DuplicateColumn`] with the line, [`DataError::Empty`] for a table without rows.
    pub fn parse(file: impl AsRef<Path>, bytes: &[u8], options: &CsvOptions) -> Result<Self, DataError> {
        let file = file.as_ref();
        let (delimiter, quote) = (options.delimiter, options.quote);
        let usable = |byte: u8| byte.is_ascii() && !matches!(byte, b'\r' | b'\n');
        if delimiter == quote || !usable(delimiter) || !usable(quote) {
            return Err(DataError::Delimiter { delimiter: delimiter.into(), quote: quote.into() });
        }
        let text = str::from_utf8(bytes).map_err(|error| DataError::Utf8 {
            file: file.into(),
            line: 1 + bytes[..error.valid_up_to()].iter().filter(|&&byte| byte == b'\n').count(),
        })?;
        let mut records = Records::new(file, text, delimiter, quote);
        let mut table = Self {
            file: file.into(),
            names: Vec::new(),
            lines: Vec::new(),
            text: String::new(),
            ends: Vec::new(),
            options: options.clone(),
        };
        records.read(|name| table.names.push(name.to_owned()))?;
        let mut seen = BTreeSet::new();
        if let Some(name) = table.names.iter().find(|name| !seen.insert(*name)) {
            return Err(DataError::DuplicateColumn { file: file.into(), name: name.clone() });
        }
        while !records.rest.is_empty() {
            table.add_row(&mut records)?;
        }
        if table.lines.is_empty() {
            return Err(DataError::Empty { what: file.display().to_string() });
        }
        Ok(table)
    }

    fn add_row(&mut self, records: &mut Records<'_>) -> Result<(), DataError> {
        let (line, byte) = (records.line, records.byte() as u64);
        let (text, ends) = (self.text.len(), self.ends.len());
        let mut missing = false;
        records.read(|cell| {
            missing |= self.options.is_missing(cell);
            self.text.push_str(cell);
            self.ends.push(self.text.len());
        })?;
        let (expected, found) = (self.names.len(), self.ends.len() - ends);
        if found != expected {
            return Err(DataError::Ragged { file: self.file.clone(), line, byte, expected, found });
        }
        if missing && self.options.policy == MissingValues::DropRow {
            self.text.truncate(text);
            self.ends.truncate(ends);
        } else {
            self.lines.push(line);
        }
        Ok(())
    }

    /// The number of rows, at least one.
    #[allow(clippy::len_without_is_empty)] // Never empty.
    pub fn len(&self) -> usize {
        self.lines.len()
    }

    /// The names of the columns.
    pub fn names(&self) -> &[String] {
        &self.names
    }

    /// The index of the column of that name.
    ///
    /// # Errors
    /// [`DataError::UnknownColumn`], with the names that there are.
    pub fn column(&self, name: &str) -> Result<usize, DataError> {
        let unknown = || DataError::UnknownColumn { file: self.file.clone(), name: name.into(), available: self.names.clone() };
        self.names.iter().position(|own| own == name).ok_or_else(unknown)
    }

    /// The line of the file, from 1, where a row begins. Panics beyond the last row.
    #[track_caller]
    pub fn line(&self, row: usize) -> usize {
        self.lines[row]
    }

    /// The text of a cell, without its quotes. Panics beyond the last row or column.
    #[track_caller]
    pub fn cell(&self, row: usize, column: usize) -> &str {
        assert!(column < self.names.len(), "column {column} of {}", self.names.len());
        let k = row * self.names.len() + column;
        &self.text[if k == 0 { 0 } else { self.ends[k - 1] }..self.ends[k]]
    }

    /// The numbers of these columns, `[rows, columns]`; blanks around a number are passed over.
    ///
    /// # Errors
    /// The first bad cell in the order of reading: [`DataError::MissingValue`], [`DataError::NotANumber`], or
    /// [`DataError::NonFiniteNumber`], with the line and the column. [`DataError::NoColumn`] for an index beyond the last.
    pub fn numbers(&self, columns: &[usize]) -> Result<Vec<f64>, DataError> {
        columns.iter().try_for_each(|&column| self.check_column(column))?;
        (0..self.len()).flat_map(|row| columns.iter().map(move |&column| self.number(row, column))).collect()
    }

    /// Whether every value of a column that is not missing reads as a number: `inf` and `nan` do, which
    /// [`numbers`](Self::numbers) then refuses. Panics beyond the last column.
    #[track_caller]
    pub fn is_numeric(&self, column: usize) -> bool {
        let numeric = |cell: &str| self.options.is_missing(cell) || cell.trim().parse::<f64>().is_ok();
        (0..self.len()).all(|row| numeric(self.cell(row, column)))
    }

    /// The categories of a column.
    ///
    /// # Errors
    /// [`DataError::MissingValue`] with the line and the column; [`DataError::NoColumn`] for an index beyond the last.
    pub fn categories(&self, column: usize) -> Result<Categories, DataError> {
        self.check_column(column)?;
        let cells: Vec<&str> = (0..self.len()).map(|row| self.present(row, column)).collect::<Result<_, _>>()?;
        let numbers: Option<Vec<f64>> = cells.iter().map(|cell| finite(cell)).collect();
        Ok(match numbers {
            // Adding 0 makes one of the two zeros.
            Some(numbers) => categorise(&cells, numbers.into_iter().map(|x| Ordered(x + 0.0))),
            None => categorise(&cells, cells.iter().copied()),
        })
    }

    /// The rows as features, and the column `target` as their classes. Columns of numbers are one feature each; a column with
    /// anything else has one feature for each of its categories, which is 1 where the row is of it and 0 elsewhere.
    ///
    /// # Errors
    /// Those of [`numbers`](Self::numbers) and [`categories`](Self::categories); [`DataError::NoFeatures`] if there is no
    /// other column; [`DataError::Categories`] for more than may become features; [`DataError::NotFinite`] for a missing number
    /// that is kept, or one that is too large for `f32`.
    pub fn labelled(&self, target: usize) -> Result<LabelledTable, DataError> {
        let Categories { names: classes, codes: labels } = self.categories(target)?;
        let (mut features, mut columns) = (Vec::new(), Vec::new());
        for (column, name) in self.names.iter().enumerate().filter(|(column, _)| *column != target) {
            if self.is_numeric(column) {
                features.push(name.clone());
                columns.push(self.numbers(&[column])?);
            } else {
                let categories = self.categories(column)?;
                let (found, limit) = (categories.names.len(), self.options.max_categories);
                if found > limit {
                    return Err(DataError::Categories { file: self.file.clone(), column: name.clone(), found, limit });
                }
                for (code, category) in categories.names.iter().enumerate() {
                    features.push(format!("{name}={category}"));
                    columns.push(categories.codes.iter().map(|&own| f64::from(u8::from(own == code))).collect());
                }
            }
        }
        if columns.is_empty() {
            return Err(DataError::NoFeatures { file: self.file.clone() });
        }
        let rows = (0..self.len()).flat_map(|row| columns.iter().map(move |column| column[row] as f32)).collect();
        let mut data = Dataset::new(&self.file.display().to_string(), rows, labels, columns.len(), classes.len())?;
        data.class_names = classes;
        Ok(LabelledTable { data, features })
    }

    fn check_column(&self, column: usize) -> Result<(), DataError> {
        let columns = self.names.len();
        if column < columns { Ok(()) } else { Err(DataError::NoColumn { file: self.file.clone(), column, columns }) }
    }

    /// The text of a cell; empty if it is missing and that is allowed.
    fn present(&self, row: usize, column: usize) -> Result<&str, DataError> {
        let cell = self.cell(row, column);
        match (self.options.is_missing(cell), self.options.policy) {
            (false, _) => Ok(cell),
            (true, MissingValues::Keep) => Ok(""),
            (true, _) => {
                Err(DataError::MissingValue { file: self.file.clone(), line: self.lines[row], column: self.names[column].clone() })
            }
        }
    }

    fn number(&self, row: usize, column: usize) -> Result<f64, DataError> {
        let text = self.present(row, column)?.trim();
        let parsed = if text.is_empty() { Ok(f64::NAN) } else { text.parse::<f64>() };
        if let Ok(number) = parsed
            && (number.is_finite() || text.is_empty())
        {
            return Ok(number);
        }
        let (file, line, column, found) = (self.file.clone(), self.lines[row], self.names[column].clone(), text.to_owned());
        Err(match parsed {
            Ok(_) => DataError::NonFiniteNumber { file, line, column, found },
            Err(_) => DataError::NotANumber { file, line, column, found },
        })
    }
}

impl CsvOptions {
    fn is_missing(&self, cell: &str) -> bool {
        cell.trim().is_empty() || self.missing.iter().any(|missing| missing == cell.trim())
    }
}

fn finite(text: &str) -> Option<f64> {
    text.trim().parse().ok().filter(|number: &f64| number.is_finite())
}

fn categorise<K: Ord + Clone>(cells: &[&str], keys: impl Iterator<Item = K> + Clone) -> Categories {
    let mut first: BTreeMap<K, &str> = BTreeMap::new();
    keys.clone().zip(cells).for_each(|(key, cell)| _ = first.entry(key).or_insert(cell));
    let names = first.values().map(|&name| name.to_owned()).collect();
    let code: BTreeMap<K, usize> = first.into_keys().enumerate().map(|(code, key)| (key, code)).collect();
    Categories { names, codes: keys.map(|key| code[&key]).collect() }
}

/// A number in the order of numbers.
#[derive(Clone, Copy)]
struct Ordered(f64);

impl PartialEq for Ordered {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other).is_eq()
    }
}

impl Eq for Ordered {}

impl PartialOrd for Ordered {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Ordered {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        self.0.total_cmp(&other.0)
    }
}

/// The rows of a text, one after the other.
struct Records<'a> {
    file: &'a Path,
    length: usize,
    rest: &'a str,
    /// The line where `rest` begins.
    line: usize,
    delimiter: char,
    quote: char,
}

impl<'a> Records<'a> {
    fn new(file: &'a Path, text: &'a str, delimiter: u8, quote: u8) -> Self {
        let rest = text.strip_prefix('\u{feff}').unwrap_or(text).trim_end_matches(['\r', '\n']);
        // What is left out at the end is no part of the length, so that `byte` counts from the beginning.
        let length = text.trim_end_matches(['\r', '\n']).len();
        Self { file, length, rest, line: 1, delimiter: delimiter.into(), quote: quote.into() }
    }

    /// The byte of the file where `rest` begins.
    fn byte(&self) -> usize {
        self.length - self.rest.len()
    }

    /// Hands out the cells of the next row.
    fn read(&mut self, mut cell: impl FnMut(&str)) -> Result<(), DataError> {
        loop {
            match self.rest.strip_prefix(self.quote) {
                Some(quoted) => cell(&self.quoted(quoted)?),
                None => {
                    let end = self.rest.find([self.delimiter, '\n']).unwrap_or(self.rest.len());
                    let (text, rest) = self.rest.split_at(end);
                    let before_break = !rest.starts_with(self.delimiter);
                    cell(if before_break { text.strip_suffix('\r').unwrap_or(text) } else { text });
                    self.rest = rest;
                }
            }
            match self.rest.strip_prefix(self.delimiter) {
                Some(rest) => self.rest = rest,
                None => break,
            }
        }
        let end = self.rest.strip_prefix("\r\n").or_else(|| self.rest.strip_prefix('\n'));
        self.line += usize::from(end.is_some());
        match end {
            Some(rest) => self.rest = rest,
            None if self.rest.is_empty() => {}
            None => return Err(DataError::Quote { file: self.file.into(), line: self.line }),
        }
        Ok(())
    }

    /// The text up to the quote that closes it.
    fn quoted(&mut self, mut rest: &'a str) -> Result<String, DataError> {
        let (start, mut text) = (self.line, String::new());
        loop {
            let (part, after) = rest.split_once(self.quote).ok_or_else(|| DataError::Quote { file: self.file.into(), line: start })?;
            self.line += part.matches('\n').count();
            text.push_str(part);
            match after.strip_prefix(self.quote) {
                Some(after) => {
                    text.push(self.quote);
                    rest = after;
                }
                None => {
                    self.rest = after;
                    return Ok(text);
                }
            }
        }
    }
}
