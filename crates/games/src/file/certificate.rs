//! Certificates as files: JSON, `sgn-cert/1`.
//!
//! | key | what it is |
//! |---|---|
//! | `format` | `"sgn-cert/1"` |
//! | `game` | its `name`, how many variables each player has (`dims`), and the SHA-256 of all that it is ([`Game::canonical`]) |
//! | `region` | `"free"` for all points, or the ends `lo` and `hi` of each variable's side and `sets`: `"box"` where players are confined to it, `"none"` where they are not |
//! | `metric` | the players' weights `w`; and `blocks`: `null` where each player's own metric is the identity, or the rows of the players' matrices, and then the rates are proven from the whole Jacobian and can be checked only with the game |
//! | `whole` | `null`, or of such a metric how the region is cut for the `margin` and for the `lipschitz` constant; `tree`, `leaves` and `covers` are empty then |
//! | `tree` | how the region is cut into leaves, in preorder: `{"split": [variable, value]}` or `{"leaf": n}` |
//! | `leaves` | of each box its ends and bounds `mu`, `L`, `own` of the Jacobian's blocks, and the vectors `x`, `v` of its `witness`; of more than 100,000 the name and SHA-256 of a file beside this one that holds them |
//! | `covers` | empty where each leaf's bounds hold on it as a whole; or, of one leaf, for each of its bounds (`{"mu": i}`, `{"norm": [i, j]}`) the `tree` of boxes on which it holds |
//! | `claims` | `alpha`, `beta`, `steps`, `maps` (updates with a proof of their own: the `update` and its step, the `factor`, weights `w` of the blocks of its state, its `region` or `null` for all points, `tree`, `leaves` with the `norm` of the map's Jacobian, the `invariant` set and the `fixed_point`), the invariant `ball`, the `projected` step that shows an equilibrium on the border, and the `equilibrium` |
//! | `conditional` | whether all is said only of iterates that stay in the region |
//! | `tool_version` | what wrote it |
//! | `sha256` | of this text without blanks and with an empty `sha256`, against accidents |
//!
//! Each number is a pair of its exact hexadecimal and its decimal form, `["0x1.8p+1", 3.0]`, which must be the same number.

mod maps;

use std::path::Path;

use gradus_base::atomic_write;
use nalgebra::DMatrix;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Deserializer, Serialize};
use sha2::{Digest, Sha256};

use super::json::Object;
use super::number::Number;
use crate::game::Game;
use crate::rigorous::Interval;
use crate::small_gain::{
    Ball, Basis, Bound, Branch, Certificate, CertificateError, Cover, Equilibrium, Leaf, Projected, Rigor, Rule, Step, Verified, Whole,
    check,
};
use maps::MapKeys;

/// The format that is written and read.
pub const FORMAT: &str = "sgn-cert/1";
/// The most leaves that a certificate holds itself.
const MOST_LEAVES: usize = 100_000;
/// The longest file that is read, in bytes.
const MOST_BYTES: u64 = 2 << 30;

/// A certificate, and which game it is of.
#[derive(Debug, Clone, PartialEq)]
pub struct CertificateFile {
    /// The game's name.
    pub name: String,
    /// The SHA-256 of the game, in hexadecimal digits.
    pub game: String,
    /// The certificate.
    pub certificate: Certificate,
}

/// Why a certificate was not read or written.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum CertificateFileError {
    /// A file that cannot be read or written.
    #[error("{path}: {source}")]
    Io {
        /// The file.
        path: String,
        /// What is wrong.
        source: std::io::Error,
    },
    /// A file that holds no certificate, or one that proves nothing.
    #[error(transparent)]
    Certificate(#[from] CertificateError),
}

impl CertificateFile {
    /// The certificate of a game.
    pub fn new(name: impl Into<String>, game: &Game, certificate: Certificate) -> Self {
        Self { name: name.into(), game: sha256(game.canonical().as_bytes()), certificate }
    }

    /// Writes it; the leaves into a second file `NAME.leaves` if they are many. Files are replaced as a whole.
    ///
    /// # Errors
    /// [`CertificateFileError::Io`].
    pub fn write(&self, path: &Path) -> Result<(), CertificateFileError> {
        let certificate = &self.certificate;
        let mut leaves = Leaves::Here(certificate.leaves.iter().map(LeafKeys::from).collect());
        if certificate.leaves.len() > MOST_LEAVES {
            let text = json(&leaves)?;
            let mut name = path.file_name().unwrap_or_default().to_os_string();
            name.push(".leaves");
            write(&path.with_file_name(&name), text.as_bytes())?;
            leaves = Leaves::There { file: name.to_string_lossy().into_owned(), sha256: sha256(text.as_bytes()) };
        }
        write(path, self.document(leaves)?.as_bytes())
    }

    /// The text of a certificate with all its leaves.
    ///
    /// # Errors
    /// [`CertificateError::Format`] for numbers that are not finite.
    pub fn to_json(&self) -> Result<String, CertificateError> {
        self.document(Leaves::Here(self.certificate.leaves.iter().map(LeafKeys::from).collect()))
    }

    fn document(&self, leaves: Leaves) -> Result<String, CertificateError> {
        let mut document = Document::new(self, leaves);
        document.sha256 = sha256(json(&document)?.as_bytes());
        Ok(json(&document)? + "\n")
    }

    /// Reads a certificate, with the leaves in a file beside it if they are there. Nothing that it claims is checked.
    ///
    /// # Errors
    /// [`CertificateFileError::Io`]; [`CertificateError::Format`], [`CertificateError::Hash`] where the text was changed.
    pub fn read(path: &Path) -> Result<Self, CertificateFileError> {
        let mut document = parse_document(&read(path)?)?;
        if let Leaves::There { file, sha256: expected } = &document.leaves {
            // A name alone: a certificate reads no file from anywhere else.
            if Path::new(file).file_name().is_none_or(|name| name != file.as_str()) {
                return Err(format_error(format!("the leaves' file `{file}` is not beside the certificate")).into());
            }
            let bytes = read(&path.with_file_name(file))?;
            if sha256(&bytes) != *expected {
                return Err(CertificateError::Hash(format!("{file} was changed: its SHA-256 is another")).into());
            }
            let leaves: Vec<Object<LeafKeys>> = parse(&bytes)?;
            document.leaves = Leaves::Here(leaves.into_iter().map(|Object(leaf)| leaf).collect());
        }
        Ok(document.certificate()?)
    }

    /// Reads a certificate that holds all its leaves from text.
    ///
    /// # Errors
    /// [`CertificateError::Format`], [`CertificateError::Hash`] where the text was changed.
    pub fn from_json(bytes: &[u8]) -> Result<Self, CertificateError> {
        parse_document(bytes)?.certificate()
    }

    /// Checks what the certificate claims; with its game, that it is of this game and that its bounds hold, too.
    ///
    /// # Errors
    /// [`CertificateError`].
    pub fn verify(&self, game: Option<&Game>) -> Result<Verified, CertificateError> {
        if game.is_some_and(|game| sha256(game.canonical().as_bytes()) != self.game) {
            return Err(CertificateError::Hash("the certificate is of another game: its SHA-256 is another".into()));
        }
        check(&self.certificate, game)
    }
}

fn format_error(message: impl Into<String>) -> CertificateError {
    CertificateError::Format(message.into())
}

fn sha256(bytes: &[u8]) -> String {
    Sha256::digest(bytes).iter().map(|byte| format!("{byte:02x}")).collect()
}

fn json(value: &impl Serialize) -> Result<String, CertificateError> {
    serde_json::to_string(value).map_err(|error| format_error(error.to_string()))
}

fn parse<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, CertificateError> {
    serde_json::from_slice(bytes).map_err(|error| {
        let text = error.to_string();
        format_error(text.chars().take(300).collect::<String>())
    })
}

fn parse_document(bytes: &[u8]) -> Result<Document, CertificateError> {
    let Object(mut document) = parse::<Object<Document>>(bytes)?;
    if document.format != FORMAT {
        return Err(format_error(format!("the format is not `{FORMAT}`")));
    }
    let expected = std::mem::take(&mut document.sha256);
    if sha256(json(&document)?.as_bytes()) != expected {
        return Err(CertificateError::Hash("the certificate was changed: its SHA-256 is another".into()));
    }
    Ok(document)
}

fn read(path: &Path) -> Result<Vec<u8>, CertificateFileError> {
    use std::io::Read as _;
    let io = |source| CertificateFileError::Io { path: path.display().to_string(), source };
    let mut bytes = Vec::new();
    std::fs::File::open(path).map_err(io)?.take(MOST_BYTES + 1).read_to_end(&mut bytes).map_err(io)?;
    if bytes.len() as u64 > MOST_BYTES {
        return Err(format_error(format!("more than {MOST_BYTES} bytes, which a certificate may have at most")).into());
    }
    Ok(bytes)
}

fn write(path: &Path, bytes: &[u8]) -> Result<(), CertificateFileError> {
    atomic_write(path, |file| file.write_all(bytes)).map_err(|source| CertificateFileError::Io { path: path.display().to_string(), source })
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Document {
    format: String,
    #[serde(deserialize_with = "object")]
    game: GameKeys,
    region: RegionKeys,
    #[serde(deserialize_with = "object")]
    metric: MetricKeys,
    #[serde(deserialize_with = "required_object")]
    whole: Option<WholeKeys>,
    tree: Vec<BranchKeys>,
    leaves: Leaves,
    #[serde(deserialize_with = "objects")]
    covers: Vec<CoverKeys>,
    #[serde(deserialize_with = "object")]
    claims: ClaimKeys,
    conditional: bool,
    tool_version: String,
    sha256: String,
}

fn objects<'de, D: Deserializer<'de>, T: Deserialize<'de>>(deserializer: D) -> Result<Vec<T>, D::Error> {
    Vec::<Object<T>>::deserialize(deserializer).map(|objects| objects.into_iter().map(|Object(value)| value).collect())
}

/// What may be `null`, and may not be left out.
fn required_object<'de, D: Deserializer<'de>, T: Deserialize<'de>>(deserializer: D) -> Result<Option<T>, D::Error> {
    Option::<Object<T>>::deserialize(deserializer).map(|object| object.map(|Object(value)| value))
}

fn object<'de, D: Deserializer<'de>, T: Deserialize<'de>>(deserializer: D) -> Result<T, D::Error> {
    Object::deserialize(deserializer).map(|Object(value)| value)
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct GameKeys {
    name: String,
    dims: Vec<usize>,
    sha256: String,
}

#[derive(Serialize, Deserialize)]
#[serde(untagged, deny_unknown_fields)]
enum RegionKeys {
    Free(Free),
    Box { lo: Vec<Number>, hi: Vec<Number>, sets: Sets },
}

#[derive(Serialize, Deserialize)]
enum Free {
    #[serde(rename = "free")]
    Free,
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Sets {
    Box,
    None,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct MetricKeys {
    w: Vec<Number>,
    /// The rows of the players' own metrics, if they are not all the identity.
    #[serde(deserialize_with = "required")]
    blocks: Option<Vec<Vec<Vec<Number>>>>,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct WholeKeys {
    margin: Vec<BranchKeys>,
    lipschitz: Vec<BranchKeys>,
}

/// A value that may be `null`, and may not be left out.
fn required<'de, D: Deserializer<'de>, T: Deserialize<'de>>(deserializer: D) -> Result<Option<T>, D::Error> {
    Option::deserialize(deserializer)
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
enum BranchKeys {
    Split(usize, Number),
    Leaf(usize),
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct CoverKeys {
    bound: Bound,
    tree: Vec<BranchKeys>,
}

#[derive(Serialize, Deserialize)]
#[serde(untagged, deny_unknown_fields)]
enum Leaves {
    Here(#[serde(deserialize_with = "objects")] Vec<LeafKeys>),
    There { file: String, sha256: String },
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct LeafKeys {
    lo: Vec<Number>,
    hi: Vec<Number>,
    mu: Vec<Number>,
    #[serde(rename = "L")]
    coupling: Vec<Vec<Number>>,
    own: Vec<Number>,
    #[serde(deserialize_with = "object")]
    witness: WitnessKeys,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct WitnessKeys {
    x: Vec<Number>,
    v: Vec<Number>,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct ClaimKeys {
    alpha: Number,
    beta: Number,
    #[serde(deserialize_with = "objects")]
    steps: Vec<StepKeys>,
    #[serde(deserialize_with = "objects")]
    maps: Vec<MapKeys>,
    #[serde(deserialize_with = "required_object")]
    ball: Option<BallKeys>,
    #[serde(deserialize_with = "required_object")]
    projected: Option<ProjectedKeys>,
    #[serde(deserialize_with = "required_object")]
    equilibrium: Option<EquilibriumKeys>,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct ProjectedKeys {
    centre: Vec<Number>,
    h: Number,
    residual: Number,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct StepKeys {
    rule: Rule,
    basis: Basis,
    h: Number,
    #[serde(deserialize_with = "required")]
    factor: Option<Number>,
    rigor: Rigor,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct BallKeys {
    centre: Vec<Number>,
    residual: Number,
    #[serde(deserialize_with = "required")]
    invariant_radius: Option<Number>,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct EquilibriumKeys {
    centre: Vec<Number>,
    radius: Number,
}

impl Document {
    fn new(file: &CertificateFile, leaves: Leaves) -> Self {
        let certificate = &file.certificate;
        Self {
            format: FORMAT.into(),
            game: GameKeys { name: file.name.clone(), dims: certificate.dimensions.clone(), sha256: file.game.clone() },
            region: match &certificate.region {
                None => RegionKeys::Free(Free::Free),
                Some(region) => {
                    let (lo, hi) = ends(region);
                    RegionKeys::Box { lo, hi, sets: if certificate.constrained { Sets::Box } else { Sets::None } }
                }
            },
            metric: MetricKeys {
                w: numbers(&certificate.weights),
                blocks: certificate.whole.as_ref().map(|whole| whole.blocks.iter().map(rows).collect()),
            },
            whole: certificate.whole.as_ref().map(|whole| WholeKeys {
                margin: whole.margin.iter().map(BranchKeys::from).collect(),
                lipschitz: whole.lipschitz.iter().map(BranchKeys::from).collect(),
            }),
            tree: certificate.tree.iter().map(BranchKeys::from).collect(),
            leaves,
            covers: certificate.covers.iter().map(CoverKeys::from).collect(),
            claims: ClaimKeys {
                alpha: Number(certificate.alpha),
                beta: Number(certificate.beta),
                steps: certificate.steps.iter().map(StepKeys::from).collect(),
                maps: certificate.maps.iter().map(MapKeys::from).collect(),
                ball: certificate.ball.as_ref().map(|ball| BallKeys {
                    centre: numbers(&ball.centre),
                    residual: Number(ball.residual),
                    invariant_radius: ball.invariant_radius.map(Number),
                }),
                projected: certificate.projected.as_ref().map(|projected| ProjectedKeys {
                    centre: numbers(&projected.centre),
                    h: Number(projected.h),
                    residual: Number(projected.residual),
                }),
                equilibrium: certificate
                    .equilibrium
                    .as_ref()
                    .map(|equilibrium| EquilibriumKeys { centre: numbers(&equilibrium.centre), radius: Number(equilibrium.radius) }),
            },
            conditional: certificate.conditional,
            tool_version: concat!("gradus-games ", env!("CARGO_PKG_VERSION")).into(),
            sha256: String::new(),
        }
    }

    fn certificate(self) -> Result<CertificateFile, CertificateError> {
        let (region, constrained) = match self.region {
            RegionKeys::Free(Free::Free) => (None, false),
            RegionKeys::Box { lo, hi, sets } => (Some(sides(&lo, &hi)?), matches!(sets, Sets::Box)),
        };
        let Leaves::Here(leaves) = self.leaves else { return Err(format_error("its leaves are in a file beside it")) };
        let ClaimKeys { alpha, beta, steps, maps, ball, projected, equilibrium } = self.claims;
        let whole = match (self.metric.blocks, self.whole) {
            (None, None) => None,
            (Some(blocks), Some(keys)) => Some(Whole {
                blocks: blocks.iter().map(|block| matrix(block, "a player's metric")).collect::<Result<_, _>>()?,
                margin: keys.margin.iter().map(Branch::from).collect(),
                lipschitz: keys.lipschitz.iter().map(Branch::from).collect(),
            }),
            _ => return Err(format_error("`blocks` and `whole` go together")),
        };
        let maps = maps.into_iter().map(|map| map.certificate(&self.game.dims)).collect::<Result<_, _>>()?;
        let certificate = Certificate {
            dimensions: self.game.dims,
            region,
            constrained,
            weights: values(&self.metric.w),
            tree: self.tree.iter().map(Branch::from).collect(),
            leaves: leaves.iter().map(LeafKeys::leaf).collect::<Result<_, _>>()?,
            covers: self.covers.iter().map(Cover::from).collect(),
            whole,
            alpha: alpha.0,
            beta: beta.0,
            steps: steps.iter().map(Step::from).collect(),
            maps,
            ball: ball.map(|ball| Ball {
                centre: values(&ball.centre),
                residual: ball.residual.0,
                invariant_radius: ball.invariant_radius.map(|radius| radius.0),
            }),
            projected: projected.map(|projected| Projected {
                centre: values(&projected.centre),
                h: projected.h.0,
                residual: projected.residual.0,
            }),
            equilibrium: equilibrium.map(|equilibrium| Equilibrium { centre: values(&equilibrium.centre), radius: equilibrium.radius.0 }),
            conditional: self.conditional,
        };
        Ok(CertificateFile { name: self.game.name, game: self.game.sha256, certificate })
    }
}

impl From<&Branch> for BranchKeys {
    fn from(branch: &Branch) -> Self {
        match *branch {
            Branch::Split { axis, at } => Self::Split(axis, Number(at)),
            Branch::Leaf(leaf) => Self::Leaf(leaf),
        }
    }
}

impl From<&BranchKeys> for Branch {
    fn from(branch: &BranchKeys) -> Self {
        match *branch {
            BranchKeys::Split(axis, Number(at)) => Self::Split { axis, at },
            BranchKeys::Leaf(leaf) => Self::Leaf(leaf),
        }
    }
}

impl From<&Cover> for CoverKeys {
    fn from(cover: &Cover) -> Self {
        Self { bound: cover.bound, tree: cover.tree.iter().map(BranchKeys::from).collect() }
    }
}

impl From<&CoverKeys> for Cover {
    fn from(cover: &CoverKeys) -> Self {
        Self { bound: cover.bound, tree: cover.tree.iter().map(Branch::from).collect() }
    }
}

impl From<&Step> for StepKeys {
    fn from(&Step { rule, basis, h, factor, rigor }: &Step) -> Self {
        Self { rule, basis, h: Number(h), factor: factor.map(Number), rigor }
    }
}

impl From<&StepKeys> for Step {
    fn from(&StepKeys { rule, basis, h, factor, rigor }: &StepKeys) -> Self {
        Self { rule, basis, h: h.0, factor: factor.map(|factor| factor.0), rigor }
    }
}

impl From<&Leaf> for LeafKeys {
    fn from(leaf: &Leaf) -> Self {
        let (lo, hi) = ends(&leaf.region);
        Self {
            lo,
            hi,
            mu: numbers(&leaf.curvature),
            coupling: rows(&leaf.coupling),
            own: numbers(&leaf.own_lipschitz),
            witness: WitnessKeys { x: numbers(&leaf.margin_witness), v: numbers(&leaf.lipschitz_witness) },
        }
    }
}

impl LeafKeys {
    fn leaf(&self) -> Result<Leaf, CertificateError> {
        Ok(Leaf {
            region: sides(&self.lo, &self.hi)?,
            curvature: values(&self.mu),
            coupling: matrix(&self.coupling, "`L`")?,
            own_lipschitz: values(&self.own),
            margin_witness: values(&self.witness.x),
            lipschitz_witness: values(&self.witness.v),
        })
    }
}

fn rows(matrix: &DMatrix<f64>) -> Vec<Vec<Number>> {
    matrix.row_iter().map(|row| row.iter().copied().map(Number).collect()).collect()
}

fn matrix(rows: &[Vec<Number>], what: &str) -> Result<DMatrix<f64>, CertificateError> {
    let columns = rows.first().map_or(0, Vec::len);
    if rows.iter().any(|row| row.len() != columns) {
        return Err(format_error(format!("the rows of {what} have different lengths")));
    }
    Ok(DMatrix::from_row_iterator(rows.len(), columns, rows.iter().flatten().map(|entry| entry.0)))
}

fn numbers(values: &[f64]) -> Vec<Number> {
    values.iter().copied().map(Number).collect()
}

fn values(numbers: &[Number]) -> Vec<f64> {
    numbers.iter().map(|number| number.0).collect()
}

fn ends(region: &[Interval]) -> (Vec<Number>, Vec<Number>) {
    region.iter().map(|side| (Number(side.lo()), Number(side.hi()))).unzip()
}

fn sides(lo: &[Number], hi: &[Number]) -> Result<Vec<Interval>, CertificateError> {
    if lo.len() != hi.len() {
        return Err(format_error("`lo` and `hi` have different lengths"));
    }
    let side = |(lo, hi): (&Number, &Number)| Interval::new(lo.0, hi.0).ok_or_else(|| format_error("`lo` is above `hi`"));
    lo.iter().zip(hi).map(side).collect()
}

#[cfg(test)]
mod tests;
