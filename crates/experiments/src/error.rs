use std::fmt::Display;
use std::io;
use std::path::{Path, PathBuf};

use gradus_base::Interrupted;

/// Why an experiment did not come to its end.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ExperimentError {
    /// Stopped by the user; finished parts are on disk.
    #[error(transparent)]
    Interrupted(#[from] Interrupted),
    /// An option that the experiment does not declare.
    #[error("{slug} has no option {name:?}; it has {}", list(known))]
    UnknownOption {
        /// The experiment.
        slug: String,
        /// The name given.
        name: String,
        /// The declared names.
        known: Vec<String>,
    },
    /// An option whose value is not what the experiment expects.
    #[error("option {name}: {value:?} is not {expected}")]
    OptionValue {
        /// The option.
        name: String,
        /// The value given.
        value: String,
        /// What was expected, as a noun.
        expected: String,
    },
    /// A file that the user wrote for an option cannot be read or does not parse.
    #[error("{}: {reason}", path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// What the system or the parser said.
        reason: String,
    },
    /// Data for an experiment that takes none.
    #[error("{slug} takes no data: --data would be ignored")]
    NoData {
        /// The experiment.
        slug: String,
    },
    /// A data file that is missing or whose content is bad; the loader's own message.
    #[error("{0}")]
    Data(String),
    /// A step of the method failed; its own message.
    #[error("{0}")]
    Method(String),
    /// A file under the output folder could not be written.
    #[error("{}: {source}", path.display())]
    Io {
        /// The file or folder.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// The experiment measured a claim that it does not declare.
    #[error("the experiment {slug} measured {claim:?}, which is none of its claims")]
    UndeclaredClaim {
        /// The experiment.
        slug: String,
        /// The claim's id.
        claim: String,
    },
    /// The experiment gave two figures the same name.
    #[error("the experiment {slug} has two figures called {figure:?}")]
    RepeatedFigure {
        /// The experiment.
        slug: String,
        /// The name of the figure.
        figure: String,
    },
    /// The experiment gave two parts of its run the same name.
    #[error("the experiment {slug} has two parts called {part:?}")]
    RepeatedPart {
        /// The experiment.
        slug: String,
        /// The name of the part.
        part: String,
    },
}

impl ExperimentError {
    /// An option whose value is not what was `expected`, a noun.
    pub fn option(name: &str, value: &str, expected: &str) -> Self {
        Self::OptionValue { name: name.into(), value: value.into(), expected: expected.into() }
    }

    /// A file of an option, at `path`, that cannot be read or does not parse.
    pub fn file(path: &Path, error: impl Display) -> Self {
        Self::File { path: path.into(), reason: error.to_string() }
    }

    /// For `map_err` on a data loader: the content of a file is at fault.
    pub fn data(error: impl Display) -> Self {
        Self::Data(error.to_string())
    }

    /// For `map_err` on a step of the method.
    pub fn method(error: impl Display) -> Self {
        Self::Method(error.to_string())
    }
}

fn list(known: &[String]) -> String {
    if known.is_empty() { "none".into() } else { known.join(", ") }
}
