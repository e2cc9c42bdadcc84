//! Reading the JSON that describes a model, with errors that name the key.

use std::path::{Path, PathBuf};

use serde_json::{Map, Value};

use crate::Activation;

/// What is wrong with a file that describes a model.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum DescriptionError {
    /// The file could not be read or written.
    #[error("{}: {source}", file.display())]
    Io {
        /// The file.
        file: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// The file is not JSON.
    #[error("{}: {source}", file.display())]
    Syntax {
        /// The file.
        file: PathBuf,
        /// What, in which line and column.
        source: serde_json::Error,
    },
    /// A value is missing, of another type, or out of range.
    #[error("{}: {place}`{key}`: expected {expected}, found {found}", file.display())]
    Value {
        /// The file.
        file: PathBuf,
        /// The layer, as `layer NAME: `; empty outside layers.
        place: String,
        /// The key.
        key: String,
        /// What would fit.
        expected: String,
        /// What is there.
        found: String,
    },
}

/// An object of a JSON file, and where it stands.
#[derive(Clone)]
pub(crate) struct Settings<'a> {
    pub(crate) file: &'a Path,
    pub(crate) place: String,
    pub(crate) object: &'a Map<String, Value>,
}

type Result<T> = std::result::Result<T, DescriptionError>;

/// The JSON value in a file.
pub(crate) fn read(file: &Path) -> Result<Value> {
    let text = std::fs::read_to_string(file).map_err(|source| DescriptionError::Io { file: file.to_owned(), source })?;
    parse(file, &text)
}

pub(crate) fn parse(file: &Path, text: &str) -> Result<Value> {
    serde_json::from_str(text).map_err(|source| DescriptionError::Syntax { file: file.to_owned(), source })
}

/// A value as it is shown in a message: not at any length.
fn shown(value: Option<&Value>) -> String {
    let Some(value) = value else { return "nothing".to_owned() };
    match value {
        Value::Object(_) => "an object".to_owned(),
        Value::Array(items) if items.len() > 8 => format!("a list of {} entries", items.len()),
        other => other.to_string().chars().take(60).collect(),
    }
}

impl<'a> Settings<'a> {
    pub(crate) fn new(file: &'a Path, place: String, value: &'a Value) -> Result<Self> {
        match value {
            Value::Object(object) => Ok(Self { file, place, object }),
            other => Err(DescriptionError::Value {
                file: file.to_owned(),
                place,
                key: "{…}".to_owned(),
                expected: "an object".to_owned(),
                found: shown(Some(other)),
            }),
        }
    }

    /// The value of `key` is not what it should be.
    pub(crate) fn wrong(&self, key: &str, expected: impl Into<String>) -> DescriptionError {
        self.wrong_because(key, expected, shown(self.object.get(key)))
    }

    pub(crate) fn wrong_because(&self, key: &str, expected: impl Into<String>, found: impl Into<String>) -> DescriptionError {
        DescriptionError::Value {
            file: self.file.to_owned(),
            place: self.place.clone(),
            key: key.to_owned(),
            expected: expected.into(),
            found: found.into(),
        }
    }

    /// The value of `key`; `null` is no value.
    pub(crate) fn get(&self, key: &str) -> Option<&'a Value> {
        self.object.get(key).filter(|value| !value.is_null())
    }

    fn read<T>(&self, key: &str, default: Option<T>, expected: &str, read: impl Fn(&'a Value) -> Option<T>) -> Result<T> {
        match self.get(key) {
            Some(value) => read(value).ok_or_else(|| self.wrong(key, expected)),
            None => default.ok_or_else(|| self.wrong(key, expected)),
        }
    }

    /// A whole number; `default` where there is none.
    pub(crate) fn size(&self, key: &str, default: Option<usize>) -> Result<usize> {
        self.read(key, default, "a whole number", |value| value.as_u64().and_then(|n| usize::try_from(n).ok()))
    }

    pub(crate) fn number(&self, key: &str, default: Option<f64>) -> Result<f64> {
        self.read(key, default, "a number", Value::as_f64)
    }

    pub(crate) fn flag(&self, key: &str, default: Option<bool>) -> Result<bool> {
        self.read(key, default, "true or false", Value::as_bool)
    }

    pub(crate) fn text(&self, key: &str, default: Option<&'a str>) -> Result<&'a str> {
        self.read(key, default, "a text", Value::as_str)
    }

    pub(crate) fn list(&self, key: &str) -> Result<&'a [Value]> {
        self.read(key, None, "a list", |value| value.as_array().map(Vec::as_slice))
    }

    /// A number of at least 1.
    pub(crate) fn positive(&self, key: &str, default: Option<usize>) -> Result<usize> {
        match self.size(key, default) {
            Ok(n) if n > 0 => Ok(n),
            _ => Err(self.wrong(key, "a whole number above 0")),
        }
    }

    /// A number in a range.
    pub(crate) fn within(&self, key: &str, default: Option<f64>, range: std::ops::RangeInclusive<f64>) -> Result<f64> {
        let found = self.number(key, default)?;
        if range.contains(&found) { Ok(found) } else { Err(self.wrong(key, format!("a number from {} to {}", range.start(), range.end()))) }
    }

    /// The rate of dropout.
    pub(crate) fn rate(&self, key: &str, default: Option<f64>) -> Result<f64> {
        let found = self.number(key, default)?;
        if (0.0..1.0).contains(&found) { Ok(found) } else { Err(self.wrong(key, "a rate in [0, 1)")) }
    }

    /// What is added to a variance.
    pub(crate) fn epsilon(&self, default: f64) -> Result<f64> {
        self.within("epsilon", Some(default), 0.0..=f64::MAX)
    }

    /// Whether the key is left out, for what would change the model in a way that it does not have.
    pub(crate) fn absent(&self, key: &str) -> Result<()> {
        if self.get(key).is_none() { Ok(()) } else { Err(self.wrong(key, "no such key")) }
    }

    /// A list of sizes above 0.
    pub(crate) fn sizes(&self, key: &str) -> Result<Vec<usize>> {
        let size = |value: &Value| value.as_u64().and_then(|n| usize::try_from(n).ok()).filter(|n| *n > 0);
        let sizes = self.list(key)?.iter().map(size).collect::<Option<Vec<_>>>();
        sizes.ok_or_else(|| self.wrong(key, "a list of whole numbers above 0"))
    }

    /// A number for all of the axes, or a list of one for each, of at least `least`.
    pub(crate) fn along(&self, key: &str, axes: usize, default: Option<usize>, least: usize) -> Result<Vec<usize>> {
        let size = |value: &Value| value.as_u64().and_then(|n| usize::try_from(n).ok()).filter(|n| *n >= least);
        let found = match (self.get(key), default) {
            (None, Some(default)) => Some(vec![default; axes]),
            (Some(Value::Array(each)), _) if each.len() == axes => each.iter().map(size).collect(),
            (Some(value), _) => size(value).map(|n| vec![n; axes]),
            (None, None) => None,
        };
        found.ok_or_else(|| self.wrong(key, format!("a whole number of at least {least}, or a list of {axes} of them")))
    }

    /// A list of texts; empty where there is none.
    pub(crate) fn texts(&self, key: &str) -> Result<Vec<String>> {
        let list = if self.get(key).is_some() { self.list(key)? } else { &[] };
        let texts = list.iter().map(|value| value.as_str().map(str::to_owned)).collect::<Option<Vec<_>>>();
        texts.ok_or_else(|| self.wrong(key, "a list of texts"))
    }

    /// Whether there are no other keys than these.
    pub(crate) fn only(&self, keys: &[&str]) -> Result<()> {
        match self.object.keys().find(|key| !keys.contains(&key.as_str())) {
            Some(key) => Err(self.wrong(key, format!("no such key, only {}", keys.join(", ")))),
            None => Ok(()),
        }
    }

    /// The object under `key`.
    pub(crate) fn object(&self, key: &str) -> Result<Option<Settings<'a>>> {
        let Some(value) = self.get(key) else { return Ok(None) };
        match value.as_object() {
            Some(object) => Ok(Some(Self { file: self.file, place: format!("{}{key}: ", self.place), object })),
            None => Err(self.wrong(key, "an object")),
        }
    }
}

impl<'a> Settings<'a> {
    /// One of the activations that have a name.
    pub(crate) fn activation(&self, key: &str, default: &'a str, known: &[(&str, Activation)]) -> Result<Activation> {
        let name = self.text(key, Some(default))?;
        let names = || known.iter().map(|(name, _)| format!("\"{name}\"")).collect::<Vec<_>>().join(", ");
        known
            .iter()
            .find(|(own, _)| *own == name)
            .map(|(_, activation)| *activation)
            .ok_or_else(|| self.wrong(key, format!("one of {}", names())))
    }

    /// An error in our settings, under the key of the file.
    pub(crate) fn invalid(&self, keys: &[(&str, &str)], error: crate::SettingError) -> DescriptionError {
        let key = keys.iter().find(|(own, _)| *own == error.name).map_or(error.name, |(_, key)| key);
        self.wrong_because(key, error.expected, error.found)
    }
}

/// Writes JSON to a file, whole or not at all.
pub(crate) fn write(file: &Path, value: &Value) -> Result<()> {
    gradus_base::atomic_write(file, |out| writeln!(out, "{value:#}"))
        .map_err(|source| DescriptionError::Io { file: file.to_owned(), source })
}
