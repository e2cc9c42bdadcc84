use std::io;
use std::path::PathBuf;

/// Why a report could not be read or written.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ReportError {
    /// A file could not be read, written or created.
    #[error("{}: {source}", path.display())]
    Io {
        /// The file or folder.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// A page that would be overwritten is not one of ours.
    #[error("{}: not written by gradus, and a report would overwrite it; choose another folder", path.display())]
    Foreign {
        /// The page.
        path: PathBuf,
    },
    /// A file is not the JSON that the schema asks for.
    #[error("{}: not a results file: {source}", path.display())]
    Json {
        /// The file.
        path: PathBuf,
        /// Where the text departs from the schema, with line and column.
        source: serde_json::Error,
    },
    /// A results file of another schema or version.
    #[error("{}: key \"schema\" is {found:?}, expected {expected:?}", path.display())]
    Schema {
        /// The file.
        path: PathBuf,
        /// What the file says.
        found: String,
        /// What this version reads.
        expected: &'static str,
    },
    /// A system in a results file whose slug could not be the name of a page.
    #[error("{}: key \"slug\" is {found:?}, expected lower-case letters, digits and -", path.display())]
    Slug {
        /// The file.
        path: PathBuf,
        /// What the file says.
        found: String,
    },
}
