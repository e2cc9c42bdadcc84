//! NPY, the file format of NumPy's arrays (NEP 1, and `numpy.lib.format` for versions 2 and 3): a magic string, a header that
//! is a Python dictionary with the element type, the order and the shape, then the elements without gaps.

use std::path::{Path, PathBuf};

const MAGIC: &[u8] = b"\x93NUMPY";
const IN_MEMORY: &str = "<memory>";
/// Elements begin at a multiple of this.
const ALIGNMENT: usize = 64;

/// What can be wrong with an NPY file, or with what is asked of it. `file` is `<memory>` where there is none; an array in an
/// archive has the path of the archive and then its own name.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
#[allow(missing_docs)] // The messages say what the fields are.
pub enum NpyError {
    /// The file could not be read or written.
    #[error("{}: {source}", file.display())]
    Io { file: PathBuf, source: std::io::Error },

    /// The first bytes are not those of the format.
    #[error("{}: not an NPY file: it does not begin with \\x93NUMPY", file.display())]
    Magic { file: PathBuf },

    /// A version of the format other than 1.0, 2.0 and 3.0.
    #[error("{}: version {major}.{minor} of NPY is not known, only 1.0, 2.0 and 3.0", file.display())]
    Version { file: PathBuf, major: u8, minor: u8 },

    /// The header is not the dictionary that the format asks for.
    #[error("{}: bad header: {reason}", file.display())]
    Header { file: PathBuf, reason: String },

    /// Elements of a type that is not read, or that does not fit what is asked for.
    #[error("{}: expected elements of type {expected}, found {found}", file.display())]
    Type { file: PathBuf, expected: &'static str, found: String },

    /// There are more elements than a computer can address.
    #[error("{}: an array of shape {shape:?} is not possible", file.display())]
    Size { file: PathBuf, shape: Vec<usize> },

    /// The number of values is not that of the shape.
    #[error("{}: the shape {shape:?} does not have {values} elements", file.display())]
    Count { file: PathBuf, shape: Vec<usize>, values: usize },

    /// The file ends too early.
    #[error("{}: truncated: expected {expected} bytes, found {found}", file.display())]
    Truncated { file: PathBuf, expected: u64, found: u64 },

    /// The file goes on after the last element.
    #[error("{}: too long: expected {expected} bytes, found {found}", file.display())]
    TrailingBytes { file: PathBuf, expected: u64, found: u64 },
}

impl NpyError {
    fn io(file: &Path) -> impl FnOnce(std::io::Error) -> Self {
        |source| Self::Io { file: file.into(), source }
    }
}

macro_rules! values {
    ($($(#[$doc:meta])* $variant:ident($type:ty, $name:literal, $decode_le:expr, $decode_be:expr, $encode:expr);)*) => {
        /// The elements of an array.
        #[derive(Clone, Debug, PartialEq)]
        pub enum NpyValues { $($(#[$doc])* $variant(Vec<$type>),)* }

        $(impl From<Vec<$type>> for NpyValues {
            fn from(values: Vec<$type>) -> Self {
                Self::$variant(values)
            }
        })*

        impl NpyValues {
            /// The number of elements.
            pub fn len(&self) -> usize {
                match self { $(Self::$variant(values) => values.len(),)* }
            }

            /// The name of the type in the format, without the order of bytes: `f4`, `i8`, `b1`.
            pub fn type_name(&self) -> &'static str {
                match self { $(Self::$variant(_) => $name,)* }
            }

            /// The bytes of an element of a type; `None` if the type is not read.
            fn element_size(name: &str) -> Option<usize> {
                match name {
                    $($name => Some(size_of::<$type>()),)*
                    _ => None,
                }
            }

            /// The elements of a type in bytes, which are whole elements; `None` if the type is not read.
            fn decode(name: &str, big_endian: bool, bytes: &[u8]) -> Option<Self> {
                match name {
                    $($name if big_endian => Some(Self::$variant(bytes.as_chunks().0.iter().map(|&bytes| $decode_be(bytes)).collect())),)*
                    $($name => Some(Self::$variant(bytes.as_chunks().0.iter().map(|&bytes| $decode_le(bytes)).collect())),)*
                    _ => None,
                }
            }

            /// Writes the elements behind `bytes`.
            fn encode(&self, bytes: &mut Vec<u8>) {
                match self {
                    $(Self::$variant(values) => {
                        bytes.reserve(size_of_val(&values[..]));
                        values.iter().for_each(|&value| bytes.extend_from_slice(&$encode(value)));
                    })*
                }
            }

            /// Elements in column-major order of a shape, in row-major order.
            fn row_major(self, shape: &[usize]) -> Self {
                match self { $(Self::$variant(values) => Self::$variant(row_major(values, shape)),)* }
            }
        }
    };
}

values! {
    /// `f4`
    F32(f32, "f4", f32::from_le_bytes, f32::from_be_bytes, f32::to_le_bytes);
    /// `f8`
    F64(f64, "f8", f64::from_le_bytes, f64::from_be_bytes, f64::to_le_bytes);
    /// `i1`
    I8(i8, "i1", i8::from_le_bytes, i8::from_be_bytes, i8::to_le_bytes);
    /// `i2`
    I16(i16, "i2", i16::from_le_bytes, i16::from_be_bytes, i16::to_le_bytes);
    /// `i4`
    I32(i32, "i4", i32::from_le_bytes, i32::from_be_bytes, i32::to_le_bytes);
    /// `i8`
    I64(i64, "i8", i64::from_le_bytes, i64::from_be_bytes, i64::to_le_bytes);
    /// `u1`
    U8(u8, "u1", u8::from_le_bytes, u8::from_be_bytes, u8::to_le_bytes);
    /// `u2`
    U16(u16, "u2", u16::from_le_bytes, u16::from_be_bytes, u16::to_le_bytes);
    /// `u4`
    U32(u32, "u4", u32::from_le_bytes, u32::from_be_bytes, u32::to_le_bytes);
    /// `u8`
    U64(u64, "u8", u64::from_le_bytes, u64::from_be_bytes, u64::to_le_bytes);
    /// `b1`; every byte but 0 is true.
    Bool(bool, "b1", |[byte]: [u8; 1]| byte != 0, |[byte]: [u8; 1]| byte != 0, |value| [u8::from(value)]);
}

impl NpyValues {
    /// Whether there are no elements.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The elements as `f32`, if their type fits without loss: from `f4`, `i1`, `u1`, `i2`, `u2` and `b1`.
    pub fn to_f32(&self) -> Option<Vec<f32>> {
        match self {
            Self::F32(values) => Some(values.clone()),
            Self::I8(values) => Some(values.iter().map(|&x| x.into()).collect()),
            Self::U8(values) => Some(values.iter().map(|&x| x.into()).collect()),
            Self::I16(values) => Some(values.iter().map(|&x| x.into()).collect()),
            Self::U16(values) => Some(values.iter().map(|&x| x.into()).collect()),
            Self::Bool(values) => Some(values.iter().map(|&x| f32::from(u8::from(x))).collect()),
            Self::F64(_) | Self::I32(_) | Self::I64(_) | Self::U32(_) | Self::U64(_) => None,
        }
    }

    /// The elements as `f64`, if their type fits without loss: from `f8`, `i4`, `u4` and the types of
    /// [`to_f32`](Self::to_f32).
    pub fn to_f64(&self) -> Option<Vec<f64>> {
        match self {
            Self::F64(values) => Some(values.clone()),
            Self::I32(values) => Some(values.iter().map(|&x| x.into()).collect()),
            Self::U32(values) => Some(values.iter().map(|&x| x.into()).collect()),
            other => Some(other.to_f32()?.into_iter().map(f64::from).collect()),
        }
    }

    /// The elements as class labels or indices, if they are whole numbers that fit: from integers and `b1`.
    pub fn to_usize(&self) -> Option<Vec<usize>> {
        fn all<T: Copy + TryInto<usize>>(values: &[T]) -> Option<Vec<usize>> {
            values.iter().map(|&x| x.try_into().ok()).collect()
        }
        match self {
            Self::I8(values) => all(values),
            Self::I16(values) => all(values),
            Self::I32(values) => all(values),
            Self::I64(values) => all(values),
            Self::U8(values) => all(values),
            Self::U16(values) => all(values),
            Self::U32(values) => all(values),
            Self::U64(values) => all(values),
            Self::Bool(values) => Some(values.iter().map(|&x| x.into()).collect()),
            Self::F32(_) | Self::F64(_) => None,
        }
    }
}

/// An array of an NPY file, in row-major order whatever the order in the file.
///
/// ```
/// use gradus_base::npy::{NpyArray, NpyValues};
///
/// let array = NpyArray::new(&[2, 3], vec![1.0f32, 2.0, 3.0, 4.0, 5.0, 6.0])?;
/// let read = NpyArray::from_bytes(&array.to_bytes())?;
/// assert_eq!(read.shape(), [2, 3]);
/// assert!(matches!(read.values(), NpyValues::F32(values) if values[5] == 6.0));
/// # Ok::<(), gradus_base::npy::NpyError>(())
/// ```
#[derive(Clone, Debug, PartialEq)]
pub struct NpyArray {
    shape: Vec<usize>,
    values: NpyValues,
}

impl NpyArray {
    /// The array of `values` in row-major order; `[]` is the shape of a scalar.
    ///
    /// # Errors
    /// [`NpyError::Count`] if the shape asks for another number of values.
    pub fn new(shape: &[usize], values: impl Into<NpyValues>) -> Result<Self, NpyError> {
        let values = values.into();
        if element_count(shape) != Some(values.len()) {
            return Err(NpyError::Count { file: IN_MEMORY.into(), shape: shape.into(), values: values.len() });
        }
        Ok(Self { shape: shape.into(), values })
    }

    /// The length of each axis.
    pub fn shape(&self) -> &[usize] {
        &self.shape
    }

    /// The elements in row-major order.
    pub fn values(&self) -> &NpyValues {
        &self.values
    }

    /// The elements in row-major order, without a copy.
    pub fn into_values(self) -> NpyValues {
        self.values
    }

    /// Reads a file.
    ///
    /// # Errors
    /// [`NpyError::Io`], and those of [`from_bytes`](Self::from_bytes).
    pub fn read(file: impl AsRef<Path>) -> Result<Self, NpyError> {
        let file = file.as_ref();
        Self::parse(file, &std::fs::read(file).map_err(NpyError::io(file))?)
    }

    /// Writes a file of version 1.0 in C order and little-endian, whole or not at all.
    ///
    /// # Errors
    /// [`NpyError::Io`].
    pub fn write(&self, file: impl AsRef<Path>) -> Result<(), NpyError> {
        let (file, bytes) = (file.as_ref(), self.to_bytes());
        crate::atomic_write(file, |out| out.write_all(&bytes)).map_err(NpyError::io(file))
    }

    /// The array in the bytes of a file: of version 1.0, 2.0 or 3.0, in C or Fortran order, big- or little-endian.
    ///
    /// # Errors
    /// Every variant of [`NpyError`] but `Io` and `Count`.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, NpyError> {
        Self::parse(Path::new(IN_MEMORY), bytes)
    }

    /// As [`from_bytes`](Self::from_bytes), with the file's name for messages.
    ///
    /// # Errors
    /// As [`from_bytes`](Self::from_bytes).
    pub fn parse(file: &Path, bytes: &[u8]) -> Result<Self, NpyError> {
        let (header, start) = header(file, bytes)?;
        let Header { descr, fortran_order, shape } =
            parse_header(header).map_err(|reason| NpyError::Header { file: file.into(), reason })?;
        let unread = || NpyError::Type { file: file.into(), expected: "f4, f8, i1 to i8, u1 to u8 or b1", found: descr.clone() };
        let (order, name) = descr.split_at_checked(1).ok_or_else(unread)?;
        let big_endian = match order {
            ">" => true,
            "=" => cfg!(target_endian = "big"),
            "<" | "|" => false,
            _ => return Err(unread()),
        };
        let size = NpyValues::element_size(name).ok_or_else(unread)?;
        let impossible = || NpyError::Size { file: file.into(), shape: shape.clone() };
        let length = element_count(&shape).and_then(|count| count.checked_mul(size)).ok_or_else(impossible)?;
        let (expected, found) = ((start as u64).saturating_add(length as u64), bytes.len() as u64);
        match bytes[start..].len() {
            rest if rest < length => return Err(NpyError::Truncated { file: file.into(), expected, found }),
            rest if rest > length => return Err(NpyError::TrailingBytes { file: file.into(), expected, found }),
            _ => {}
        }
        let values = NpyValues::decode(name, big_endian, &bytes[start..]).ok_or_else(unread)?;
        let values = if fortran_order { values.row_major(&shape) } else { values };
        Ok(Self { shape, values })
    }

    /// The bytes of a file of version 1.0 (2.0 where the header is too long for that), in C order and little-endian.
    pub fn to_bytes(&self) -> Vec<u8> {
        let order = if matches!(self.values.type_name(), "i1" | "u1" | "b1") { '|' } else { '<' };
        let lengths: String = self.shape.iter().map(|length| format!("{length}, ")).collect();
        // A comma after the last length only where it is the only one, as Python writes it.
        let lengths = if self.shape.len() == 1 { lengths.trim_end() } else { lengths.trim_end_matches(", ") };
        let header = format!("{{'descr': '{order}{}', 'fortran_order': False, 'shape': ({lengths}), }}", self.values.type_name());
        let padded = |before: usize| (before + header.len() + 1).next_multiple_of(ALIGNMENT) - before;
        let mut bytes = MAGIC.to_vec();
        match u16::try_from(padded(MAGIC.len() + 4)) {
            Ok(length) => {
                bytes.extend([1, 0]);
                bytes.extend(length.to_le_bytes());
            }
            Err(_) => {
                bytes.extend([2, 0]);
                bytes.extend((padded(MAGIC.len() + 6) as u32).to_le_bytes());
            }
        }
        let end = bytes.len() + padded(bytes.len());
        bytes.extend(header.as_bytes());
        bytes.resize(end - 1, b' ');
        bytes.push(b'\n');
        self.values.encode(&mut bytes);
        bytes
    }
}

/// The number of elements; `None` if it overflows.
fn element_count(shape: &[usize]) -> Option<usize> {
    // A zero anywhere empties the array, however long the other axes are.
    if shape.contains(&0) { Some(0) } else { shape.iter().try_fold(1usize, |count, &length| count.checked_mul(length)) }
}

/// Values in column-major order of a shape, in row-major order: the first axis, whose index runs fastest, is put before the
/// others, and then each axis before those behind it.
fn row_major<T: Copy>(mut values: Vec<T>, shape: &[usize]) -> Vec<T> {
    // Both orders of the square parts of a matrix fit the cache.
    const SIDE: usize = 32;
    if values.is_empty() {
        return values;
    }
    let (mut turned, mut size) = (values.clone(), values.len());
    // Axes of one entry move nothing, and a header may hold very many.
    for &length in shape.iter().filter(|&&length| length > 1) {
        let rest = size / length;
        for (from, to) in values.chunks_exact(size).zip(turned.chunks_exact_mut(size)) {
            for (i0, j0) in (0..length).step_by(SIDE).flat_map(|i0| (0..rest).step_by(SIDE).map(move |j0| (i0, j0))) {
                for i in i0..length.min(i0 + SIDE) {
                    (j0..rest.min(j0 + SIDE)).for_each(|j| to[i * rest + j] = from[j * length + i]);
                }
            }
        }
        std::mem::swap(&mut values, &mut turned);
        size = rest;
    }
    values
}

/// The text of the header, and where the elements begin.
fn header<'a>(file: &Path, bytes: &'a [u8]) -> Result<(&'a [u8], usize), NpyError> {
    let truncated = |expected: usize| NpyError::Truncated { file: file.into(), expected: expected as u64, found: bytes.len() as u64 };
    let rest = bytes.strip_prefix(MAGIC).ok_or_else(|| match MAGIC.starts_with(bytes) {
        true => truncated(MAGIC.len() + 2),
        false => NpyError::Magic { file: file.into() },
    })?;
    let (&[major, minor], rest) = rest.split_first_chunk().ok_or_else(|| truncated(MAGIC.len() + 2))?;
    let before = MAGIC.len() + 2;
    let (length, start) = match (major, minor) {
        (1, 0) => (rest.first_chunk().map(|&length| usize::from(u16::from_le_bytes(length))), before + 2),
        (2 | 3, 0) => (rest.first_chunk().map(|&length| u32::from_le_bytes(length) as usize), before + 4),
        _ => return Err(NpyError::Version { file: file.into(), major, minor }),
    };
    let end = length.ok_or_else(|| truncated(start))?.saturating_add(start);
    bytes.get(start..end).map(|header| (header, end)).ok_or_else(|| truncated(end))
}

struct Header {
    descr: String,
    fortran_order: bool,
    shape: Vec<usize>,
}

/// Reads `{'descr': '<f4', 'fortran_order': False, 'shape': (2, 3), }`, in any order of the keys.
fn parse_header(bytes: &[u8]) -> Result<Header, String> {
    let text = str::from_utf8(bytes).map_err(|error| error.to_string())?;
    let mut parser = Parser { rest: text };
    let (mut descr, mut fortran_order, mut shape) = (None, None, None);
    parser.expect("{")?;
    while !parser.take("}") {
        let key = parser.string()?;
        parser.expect(":")?;
        let repeated = match key {
            // Records have a list of fields.
            "descr" if parser.rest.trim_start().starts_with('[') => {
                return Ok(Header { descr: "records".into(), fortran_order: false, shape: vec![] });
            }
            "descr" => descr.replace(parser.string()?.to_owned()).is_some(),
            "fortran_order" => fortran_order.replace(parser.boolean()?).is_some(),
            "shape" => shape.replace(parser.tuple()?).is_some(),
            key => return Err(format!("unknown key {key:?}")),
        };
        if repeated {
            return Err(format!("the key {key:?} twice"));
        }
        if !parser.take(",") {
            parser.expect("}")?;
            break;
        }
    }
    if !parser.rest.trim().is_empty() {
        return Err(format!("{:?} after the dictionary", parser.rest.trim()));
    }
    let missing = |key: &str| format!("no key {key:?}");
    Ok(Header {
        descr: descr.ok_or_else(|| missing("descr"))?,
        fortran_order: fortran_order.ok_or_else(|| missing("fortran_order"))?,
        shape: shape.ok_or_else(|| missing("shape"))?,
    })
}

struct Parser<'a> {
    rest: &'a str,
}

impl<'a> Parser<'a> {
    /// Passes over `word`, if it is next.
    fn take(&mut self, word: &str) -> bool {
        let rest = self.rest.trim_start().strip_prefix(word);
        self.rest = rest.unwrap_or(self.rest);
        rest.is_some()
    }

    fn expect(&mut self, word: &str) -> Result<(), String> {
        if self.take(word) { Ok(()) } else { Err(self.wrong(&format!("{word:?}"))) }
    }

    fn wrong(&self, expected: &str) -> String {
        let found: String = self.rest.trim_start().chars().take(20).collect();
        format!("expected {expected}, found {found:?}")
    }

    fn string(&mut self) -> Result<&'a str, String> {
        let text = self.rest.trim_start();
        let quote = text.chars().next().filter(|quote| matches!(quote, '\'' | '"')).ok_or_else(|| self.wrong("a text in quotes"))?;
        let (text, rest) = text[1..].split_once(quote).ok_or_else(|| self.wrong("a text in quotes"))?;
        self.rest = rest;
        Ok(text)
    }

    fn boolean(&mut self) -> Result<bool, String> {
        let found = self.take("True");
        if found || self.take("False") { Ok(found) } else { Err(self.wrong("True or False")) }
    }

    /// `(2, 3)`, `(2,)` or `()`.
    fn tuple(&mut self) -> Result<Vec<usize>, String> {
        let mut lengths = Vec::new();
        self.expect("(")?;
        while !self.take(")") {
            let text = self.rest.trim_start();
            let end = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
            lengths.push(text[..end].parse().map_err(|_| self.wrong("a length"))?);
            self.rest = &text[end..];
            // Python 2 marks long numbers.
            self.take("L");
            if !self.take(",") {
                self.expect(")")?;
                break;
            }
        }
        Ok(lengths)
    }
}

#[cfg(test)]
mod tests;
