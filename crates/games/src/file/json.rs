//! The keys of a game's file. An object is read only from an object, each key once and no other, and `null` is no value.

use std::collections::HashSet;
use std::fmt;
use std::marker::PhantomData;

use serde::de::value::MapAccessDeserializer;
use serde::de::{Deserialize, Deserializer, Error, MapAccess, Visitor};

#[derive(serde::Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Document {
    pub(super) format: String,
    #[serde(default, deserialize_with = "given")]
    pub(super) players: Option<Vec<Object<PlayerKeys>>>,
    #[serde(default, deserialize_with = "given")]
    pub(super) quadratic: Option<Object<QuadraticKeys>>,
    #[serde(default, deserialize_with = "given")]
    pub(super) markov: Option<Object<MarkovKeys>>,
    #[serde(default)]
    pub(super) parameters: Entries<f64>,
    #[serde(default, deserialize_with = "given")]
    pub(super) region: Option<Entries<Vec<f64>>>,
    #[serde(default)]
    pub(super) constrained: bool,
}

#[derive(serde::Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct PlayerKeys {
    pub(super) name: String,
    pub(super) variables: Vec<String>,
    #[serde(default, deserialize_with = "given")]
    pub(super) loss: Option<String>,
    #[serde(default, deserialize_with = "given")]
    pub(super) field: Option<Vec<String>>,
}

#[derive(serde::Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct QuadraticKeys {
    pub(super) dims: Vec<usize>,
    pub(super) jacobian: Vec<Vec<f64>>,
    pub(super) offset: Vec<f64>,
}

#[derive(serde::Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct MarkovKeys {
    pub(super) states: usize,
    pub(super) actions: Vec<usize>,
    pub(super) discount: f64,
    pub(super) temperature: f64,
    pub(super) rewards: Vec<Vec<Vec<f64>>>,
    pub(super) transitions: Vec<Vec<Vec<f64>>>,
    pub(super) start: Vec<f64>,
    #[serde(default, deserialize_with = "given")]
    pub(super) entropy: Option<String>,
}

fn given<'de, D: Deserializer<'de>, T: Deserialize<'de>>(deserializer: D) -> Result<Option<T>, D::Error> {
    T::deserialize(deserializer).map(Some)
}

/// What is written as an object: derived types could be read from arrays of their values, too.
pub(super) struct Object<T>(pub(super) T);

impl<'de, T: Deserialize<'de>> Deserialize<'de> for Object<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_map(ObjectVisitor(PhantomData))
    }
}

struct ObjectVisitor<T>(PhantomData<T>);

impl<'de, T: Deserialize<'de>> Visitor<'de> for ObjectVisitor<T> {
    type Value = Object<T>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<M: MapAccess<'de>>(self, map: M) -> Result<Object<T>, M::Error> {
        T::deserialize(MapAccessDeserializer::new(map)).map(Object)
    }
}

/// Names and what they have, each name once, in their order.
#[derive(Debug)]
pub(super) struct Entries<T>(pub(super) Vec<(String, T)>);

impl<T> Default for Entries<T> {
    fn default() -> Self {
        Self(Vec::new())
    }
}

impl<'de, T: Deserialize<'de>> Deserialize<'de> for Entries<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_map(EntriesVisitor(PhantomData))
    }
}

struct EntriesVisitor<T>(PhantomData<T>);

impl<'de, T: Deserialize<'de>> Visitor<'de> for EntriesVisitor<T> {
    type Value = Entries<T>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<M: MapAccess<'de>>(self, mut map: M) -> Result<Entries<T>, M::Error> {
        let (mut entries, mut names) = (Vec::new(), HashSet::new());
        while let Some(name) = map.next_key::<String>()? {
            if !names.insert(name.clone()) {
                return Err(M::Error::custom(format_args!("duplicate key `{name}`")));
            }
            entries.push((name, map.next_value()?));
        }
        Ok(Entries(entries))
    }
}
