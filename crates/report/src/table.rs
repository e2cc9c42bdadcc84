use serde::{Deserialize, Serialize};

/// A table of numbers and words, as shown on a page and saved as JSON.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Table {
    /// What the table shows; its caption.
    pub title: String,
    /// One heading per column.
    pub columns: Vec<String>,
    /// The rows, each with one cell per column.
    pub rows: Vec<Vec<Cell>>,
}

impl Table {
    /// A table without rows yet.
    ///
    /// ```
    /// use gradus_report::{Cell, Table};
    ///
    /// let mut table = Table::new("Pairs of tasks", ["pair", "gain"]);
    /// table.rows.push(vec!["rot90 + rot180".into(), 0.8.into()]);
    /// assert_eq!(table.rows[0][1], Cell::Number(0.8));
    /// ```
    pub fn new<const N: usize>(title: &str, columns: [&str; N]) -> Self {
        Self { title: title.into(), columns: columns.map(String::from).into(), rows: Vec::new() }
    }
}

/// One cell of a [`Table`]. In JSON: a number, a string or null.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum Cell {
    /// A number; one that is not finite becomes null in JSON, which has no such numbers.
    Number(f64),
    /// Words.
    Text(String),
    /// Nothing to show.
    Missing,
}

impl From<f64> for Cell {
    fn from(value: f64) -> Self {
        Self::Number(value)
    }
}

impl From<&str> for Cell {
    fn from(text: &str) -> Self {
        Self::Text(text.into())
    }
}

impl From<String> for Cell {
    fn from(text: String) -> Self {
        Self::Text(text)
    }
}

impl From<Option<f64>> for Cell {
    fn from(value: Option<f64>) -> Self {
        value.map_or(Self::Missing, Self::Number)
    }
}

impl std::fmt::Display for Cell {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Number(value) => formatter.write_str(&format_number(*value)),
            Self::Text(text) => formatter.write_str(text),
            Self::Missing => formatter.write_str("–"),
        }
    }
}

/// A number for people: four significant digits, trailing zeros cut, a power of ten where that is shorter.
///
/// ```
/// use gradus_report::format_number;
///
/// assert_eq!(format_number(0.78431), "0.7843");
/// assert_eq!(format_number(-1500.0), "−1500");
/// assert_eq!(format_number(2.5e-10), "2.5e−10");
/// ```
pub fn format_number(value: f64) -> String {
    if value.is_nan() {
        return "not a number".into();
    }
    let magnitude = value.abs();
    let text = if value == 0.0 {
        "0".into()
    } else if value.is_infinite() {
        if value > 0.0 { "∞".into() } else { "-∞".into() }
    } else if magnitude < 1e6 && value.fract() == 0.0 {
        format!("{value:.0}")
    } else if (1e-3..1e6).contains(&magnitude) {
        let decimals = (3 - magnitude.log10().floor() as i32).max(0) as usize;
        cut_zeros(&format!("{value:.decimals$}")).into()
    } else {
        let text = format!("{value:.3e}");
        let (digits, power) = text.split_once('e').unwrap_or((&text, "0"));
        format!("{}e{power}", cut_zeros(digits))
    };
    text.replace('-', "−")
}

fn cut_zeros(text: &str) -> &str {
    if text.contains('.') { text.trim_end_matches('0').trim_end_matches('.') } else { text }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_for_people() {
        for (value, text) in [
            (0.0, "0"),
            (1.0, "1"),
            (0.1 + 0.2, "0.3"),
            (123.456, "123.5"),
            (99_999.96, "100000"),
            (-0.012345, "−0.01235"),
            (0.000_999, "9.99e−4"),
            (1_234_567.0, "1.235e6"),
            (f64::INFINITY, "∞"),
            (f64::NEG_INFINITY, "−∞"),
            (f64::NAN, "not a number"),
        ] {
            assert_eq!(format_number(value), text);
        }
    }

    #[test]
    fn cells_survive_json() {
        let cells = vec![Cell::Number(0.5), Cell::Text("a".into()), Cell::Missing];
        let json = serde_json::to_string(&cells).unwrap();
        assert_eq!(json, r#"[0.5,"a",null]"#);
        assert_eq!(serde_json::from_str::<Vec<Cell>>(&json).unwrap(), cells);
    }
}
