//! Formulas as text.
//!
//! From the loosest to the tightest: `+ -`, `* /` (both from the left), a minus in front, and `^` (from the right), so that `-x^2` is
//! `-(x^2)`. Then numbers, names, `pi`, `e`, parentheses and calls: `exp ln log sqrt sin cos tanh sinh cosh atan sigmoid softplus`, where
//! `log` is `ln`. There is no implicit product. An exponent is constant: a whole number up to 64 in size is a repeated product, and
//! anything else needs a positive base.

use std::cell::RefCell;
use std::collections::HashMap;

use crate::expression::{Function, Graph, Symbol};
use crate::rigorous::Interval;
use crate::scalar::Real;

/// The longest formula, in bytes.
pub const MOST_BYTES: usize = 64 << 10;
/// The most levels: open parentheses and calls, minuses in front, and powers in exponents.
pub const MOST_LEVELS: usize = 256;
/// The largest whole exponent that is a repeated product.
const MOST_FACTORS: f64 = 64.0;
/// Names that are longer are not compared with others, and shown only in part.
const LONG: usize = 64;

const FUNCTIONS: [(&str, Function); 12] = [
    ("exp", Function::Exp),
    ("ln", Function::Ln),
    ("log", Function::Ln),
    ("sqrt", Function::Sqrt),
    ("sin", Function::Sin),
    ("cos", Function::Cos),
    ("tanh", Function::Tanh),
    ("sinh", Function::Sinh),
    ("cosh", Function::Cosh),
    ("atan", Function::Atan),
    ("sigmoid", Function::Sigmoid),
    ("softplus", Function::Softplus),
];
const CONSTANTS: [&str; 2] = ["pi", "e"];
/// Functions without two continuous derivatives.
const NOT_SMOOTH: [&str; 8] = ["abs", "max", "min", "relu", "sign", "floor", "ceil", "round"];

/// What is wrong with a formula, and where.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("column {column}: {message}")]
pub struct FormulaError {
    /// The character at which it goes wrong; 1 is the first.
    pub column: usize,
    /// What is wrong.
    pub message: String,
}

/// Whether a formula can be read with these variables and parameters.
///
/// ```
/// use gradus_games::file::formula::check;
///
/// let read = |text| check(text, &["x", "y"], &[("k", 0.5)]);
/// assert!(read("x^2 + k*x*y + exp(-y^2)").is_ok());
/// let wrong = read("x + abs(y)").unwrap_err();
/// assert_eq!(wrong.column, 5);
/// assert!(wrong.message.contains("not C^2"));
/// ```
///
/// # Errors
/// [`FormulaError`].
pub fn check(text: &str, variables: &[&str], parameters: &[(&str, f64)]) -> Result<(), FormulaError> {
    let graph = RefCell::new(Graph::default());
    let x = Graph::variables(&graph, variables.len());
    let names = Names::new(variables.iter().copied(), parameters.iter().copied());
    parse(text, &names, &x).map(|_| ())
}

/// Whether a name has the form of one.
pub(super) fn is_name(name: &str) -> bool {
    name.starts_with(starts_name) && name.chars().all(continues_name)
}

/// Whether a name means something else in every formula.
pub(super) fn is_reserved(name: &str) -> bool {
    function(name).is_some() || CONSTANTS.contains(&name) || NOT_SMOOTH.contains(&name)
}

fn starts_name(c: char) -> bool {
    c.is_ascii_alphabetic() || c == '_'
}

fn continues_name(c: char) -> bool {
    c.is_ascii_alphanumeric() || c == '_'
}

fn function(name: &str) -> Option<Function> {
    FUNCTIONS.iter().find(|(known, _)| *known == name).map(|&(_, function)| function)
}

/// Text of the user's, for a message of one line: without control characters, and not too long.
pub(super) fn shown(text: &str) -> String {
    shown_up_to(text, LONG)
}

/// The same with another length.
pub(super) fn shown_up_to(text: &str, length: usize) -> String {
    let plain = |c: char| if c.is_control() { c.escape_default().to_string() } else { c.to_string() };
    let start: String = text.chars().take(length).map(plain).collect();
    if text.chars().nth(length).is_some() { format!("{start}…") } else { start }
}

#[derive(Clone, Copy)]
enum Meaning {
    Variable(usize),
    Parameter(f64),
}

/// What the names in a formula mean.
pub(super) struct Names<'a> {
    meanings: HashMap<&'a str, Meaning>,
    /// The same in their order, so that messages are always the same.
    order: Vec<&'a str>,
}

impl<'a> Names<'a> {
    /// Of names that appear twice, a parameter counts before a variable, and the last before others.
    pub(super) fn new(variables: impl Iterator<Item = &'a str>, parameters: impl Iterator<Item = (&'a str, f64)>) -> Self {
        let variables = variables.enumerate().map(|(index, name)| (name, Meaning::Variable(index)));
        let both: Vec<_> = variables.chain(parameters.map(|(name, value)| (name, Meaning::Parameter(value)))).collect();
        Self { order: both.iter().map(|&(name, _)| name).collect(), meanings: both.into_iter().collect() }
    }
}

/// Reads a formula of the variables `x`.
pub(super) fn parse<'g>(text: &str, names: &Names<'_>, x: &[Symbol<'g>]) -> Result<Symbol<'g>, FormulaError> {
    let mut parser = Parser { text, at: 0, level: 0, names, x };
    if text.len() > MOST_BYTES {
        return Err(parser.error(0, format!("a formula of {} bytes: at most {MOST_BYTES} are allowed", text.len())));
    }
    parser.whole().map(|value| value.symbol)
}

/// A part of a formula.
#[derive(Clone, Copy)]
struct Value<'g> {
    symbol: Symbol<'g>,
    /// Whether it is written without variables. What is not may still be the same everywhere, as `x - x`.
    constant: bool,
}

struct Parser<'a, 'g> {
    text: &'a str,
    /// The first byte that is not read yet.
    at: usize,
    level: usize,
    names: &'a Names<'a>,
    x: &'a [Symbol<'g>],
}

type Read<T> = Result<T, FormulaError>;

impl<'g> Parser<'_, 'g> {
    fn error(&self, at: usize, message: impl Into<String>) -> FormulaError {
        FormulaError { column: self.text[..at].chars().count() + 1, message: message.into() }
    }

    fn peek(&self) -> Option<char> {
        self.text[self.at..].chars().next()
    }

    /// Where the next part starts.
    fn start(&mut self) -> usize {
        self.skip(|c| matches!(c, ' ' | '\t' | '\r' | '\n'));
        self.at
    }

    fn skip(&mut self, matches: impl Fn(char) -> bool) -> usize {
        let rest = &self.text[self.at..];
        let length = rest.find(|c| !matches(c)).unwrap_or(rest.len());
        self.at += length;
        length
    }

    fn take(&mut self, wanted: char) -> bool {
        let start = self.start();
        let found = self.text[start..].starts_with(wanted);
        self.at += if found { wanted.len_utf8() } else { 0 };
        found
    }

    /// What stands at the next place, for a message.
    fn found(&self) -> String {
        self.peek().map_or_else(|| "the end".into(), |c| format!("`{}`", shown(c.encode_utf8(&mut [0; 4]))))
    }

    fn whole(&mut self) -> Read<Value<'g>> {
        let value = self.sum()?;
        let end = self.start();
        let message = match self.peek() {
            None => return Ok(value),
            Some(')') => "a `)` without its `(`".into(),
            Some(c) if continues_name(c) || c == '(' => {
                format!("expected an operator before {}: there is no implicit product", self.found())
            }
            Some(_) => format!("expected an operator or the end, found {}", self.found()),
        };
        Err(self.error(end, message))
    }

    fn sum(&mut self) -> Read<Value<'g>> {
        let start = self.start();
        let mut left = self.product()?;
        loop {
            let symbol = if self.take('+') {
                |a: Symbol<'g>, b| a + b
            } else if self.take('-') {
                |a: Symbol<'g>, b| a - b
            } else {
                return Ok(left);
            };
            let right = self.product()?;
            left = self.both(start, left, right, symbol)?;
        }
    }

    fn product(&mut self) -> Read<Value<'g>> {
        let start = self.start();
        let mut left = self.signed()?;
        loop {
            let symbol = if self.take('*') {
                |a: Symbol<'g>, b| a * b
            } else if self.take('/') {
                |a: Symbol<'g>, b| a / b
            } else {
                return Ok(left);
            };
            let right = self.signed()?;
            left = self.both(start, left, right, symbol)?;
        }
    }

    fn both(&self, start: usize, a: Value<'g>, b: Value<'g>, of: fn(Symbol<'g>, Symbol<'g>) -> Symbol<'g>) -> Read<Value<'g>> {
        self.finite(start, Value { symbol: of(a.symbol, b.symbol), constant: a.constant && b.constant })
    }

    fn signed(&mut self) -> Read<Value<'g>> {
        let start = self.start();
        if self.take('-') {
            let value = self.nested(start, Self::signed)?;
            return Ok(Value { symbol: -value.symbol, ..value });
        }
        self.power()
    }

    fn power(&mut self) -> Read<Value<'g>> {
        let start = self.start();
        let base = self.atom()?;
        if !self.take('^') {
            return Ok(base);
        }
        let at = self.start();
        let exponent = self.nested(at, Self::signed)?;
        if !exponent.constant {
            return Err(self.error(at, "an exponent is constant: for a variable one write exp(exponent * ln(base))"));
        }
        let whole = exponent.symbol.exact().filter(|k| k.fract() == 0.0 && k.abs() <= MOST_FACTORS);
        let symbol = match whole {
            Some(whole) => base.symbol.powi(whole as i32),
            None if base.symbol.constant_value().is_some_and(|(_, around)| around.lo() <= 0.0) => {
                return Err(self.error(start, "an exponent that is no whole number up to 64 in size needs a positive base"));
            }
            None => (exponent.symbol * base.symbol.ln()).exp(),
        };
        self.finite(start, Value { symbol, constant: base.constant })
    }

    fn atom(&mut self) -> Read<Value<'g>> {
        let start = self.start();
        match self.peek() {
            Some('(') => self.parenthesis(),
            Some(c) if c.is_ascii_digit() || c == '.' => self.number(),
            Some(c) if starts_name(c) => {
                self.skip(continues_name);
                self.named(start)
            }
            _ => Err(self.error(start, format!("expected a number, a name or `(`, found {}", self.found()))),
        }
    }

    fn parenthesis(&mut self) -> Read<Value<'g>> {
        let open = self.start();
        self.take('(');
        let value = self.nested(open, Self::sum)?;
        let end = self.start();
        if self.take(')') {
            return Ok(value);
        }
        let column = self.error(open, "").column;
        Err(self.error(end, format!("expected an operator or the `)` of the `(` at column {column}, found {}", self.found())))
    }

    /// One level further in.
    fn nested(&mut self, at: usize, inner: fn(&mut Self) -> Read<Value<'g>>) -> Read<Value<'g>> {
        if self.level == MOST_LEVELS {
            return Err(self.error(at, format!("more than {MOST_LEVELS} levels of parentheses, minuses in front and exponents")));
        }
        self.level += 1;
        let value = inner(self);
        self.level -= 1;
        value
    }

    fn number(&mut self) -> Read<Value<'g>> {
        let start = self.at;
        let digit = |c: char| c.is_ascii_digit();
        let mut digits = self.skip(digit);
        if self.text[self.at..].starts_with('.') {
            self.at += 1;
            digits += self.skip(digit);
        }
        if digits == 0 {
            return Err(self.error(start, "a point without digits"));
        }
        let before = self.at;
        if self.text[self.at..].starts_with(['e', 'E']) {
            self.at += 1;
            self.at += usize::from(self.text[self.at..].starts_with(['+', '-']));
            if self.skip(digit) == 0 {
                // A name, or nothing that may follow a number.
                self.at = before;
            }
        }
        let literal = &self.text[start..self.at];
        match literal.parse::<f64>() {
            Ok(value) if value.is_finite() => Ok(Value { symbol: Symbol::constant(value), constant: true }),
            _ => Err(self.error(start, format!("the number {} is out of range", shown(literal)))),
        }
    }

    /// What the name means that was just read.
    fn named(&mut self, start: usize) -> Read<Value<'g>> {
        let name = &self.text[start..self.at];
        self.start();
        let called = self.peek() == Some('(');
        match self.names.meanings.get(name) {
            Some(_) if called => {
                return Err(self.error(start, format!("`{}` is no function, and there is no implicit product", shown(name))));
            }
            Some(&Meaning::Variable(index)) => return Ok(Value { symbol: self.x[index], constant: false }),
            Some(&Meaning::Parameter(value)) => return self.finite(start, Value { symbol: Symbol::constant(value), constant: true }),
            None => {}
        }
        match (name, function(name)) {
            (_, Some(function)) if called => {
                let of = self.parenthesis()?;
                self.finite(start, Value { symbol: function.of(of.symbol), ..of })
            }
            (_, Some(_)) => Err(self.error(start, format!("`{name}` is a function: write {name}(..)"))),
            ("pi", _) if !called => Ok(Value { symbol: Symbol::pi(), constant: true }),
            ("e", _) if !called => Ok(Value { symbol: Symbol::e(), constant: true }),
            ("pi" | "e", _) => Err(self.error(start, format!("`{name}` is no function, and there is no implicit product"))),
            _ if NOT_SMOOTH.contains(&name) => {
                Err(self.error(start, format!("`{name}` is not C^2: a loss needs two continuous derivatives")))
            }
            _ => Err(self.error(start, self.unknown(name, called))),
        }
    }

    fn unknown(&self, name: &str, called: bool) -> String {
        let functions = || FUNCTIONS.iter().map(|&(known, _)| known);
        let nearest = if called {
            nearest(name, functions())
        } else {
            nearest(name, self.names.order.iter().copied().chain(CONSTANTS).chain(functions()))
        };
        let kind = if called { "function" } else { "name" };
        let hint = nearest.map_or_else(String::new, |nearest| format!("; the nearest known one is `{nearest}`"));
        format!("unknown {kind} `{}`{hint}", shown(name))
    }

    /// Refuses what is the same everywhere, and no number.
    fn finite(&self, start: usize, value: Value<'g>) -> Read<Value<'g>> {
        let number = |(nearest, around): (f64, Interval)| nearest.is_finite() && around.is_bounded();
        if value.symbol.constant_value().is_none_or(number) {
            return Ok(value);
        }
        Err(self.error(start, format!("`{}` is undefined or out of range", shown(self.text[start..self.at].trim_end()))))
    }
}

/// The known name that takes the fewest changes of single letters.
fn nearest<'a>(name: &str, known: impl Iterator<Item = &'a str>) -> Option<&'a str> {
    let short = |name: &str| name.len() <= LONG;
    known.filter(|known| short(known) && short(name)).min_by_key(|known| changes(name.as_bytes(), known.as_bytes()))
}

/// The distance of Levenshtein.
fn changes(a: &[u8], b: &[u8]) -> usize {
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, x) in a.iter().enumerate() {
        let mut diagonal = std::mem::replace(&mut row[0], i + 1);
        for (j, y) in b.iter().enumerate() {
            let least = (diagonal + usize::from(x != y)).min(row[j] + 1).min(row[j + 1] + 1);
            diagonal = std::mem::replace(&mut row[j + 1], least);
        }
    }
    row[b.len()]
}

#[cfg(test)]
mod tests;
