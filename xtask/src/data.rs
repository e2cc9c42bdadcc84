//! `cargo xtask data`: which real data sets `--data` accepts, and whether files are the pinned ones.

use std::ffi::OsString;
use std::io::Read;
use std::path::{Path, PathBuf};

use flate2::read::MultiGzDecoder;
use lexopt::prelude::*;
use sha2::{Digest, Sha256};

use crate::Failure;

const HELP: &str = "\
Lists the real data sets that `--data DIR` accepts: origin, licence, files, SHA-256.
No experiment needs them: the default data is embedded or generated.

Usage: cargo xtask data
       cargo xtask data --check DIR

Options:
  --check DIR  Compare the files in DIR and one level below with the pinned checksums
  -h, --help   This text
";

struct Set {
    name: &'static str,
    about: &'static str,
    origin: &'static str,
    licence: &'static str,
    files: &'static [Pinned],
}

/// A file by its name without `.gz`, and the SHA-256 of its content, decompressed where it is compressed: the same data
/// is found compressed in several ways. Several pins stand for copies that differ in comment lines alone.
struct Pinned {
    name: &'static str,
    sha256: &'static [&'static str],
}

const SETS: &[Set] = &[
    Set {
        name: "digits",
        about: "1,797 handwritten digits of 8x8 pixels; the same rows are embedded and are the default",
        origin: "optdigits.tes of the UCI set below, doi 10.24432/C50P49;\n           \
                 pinned: the copy of github.com/vishalburri/BACKPROPAGATION-NN without its carriage returns and blank last line",
        licence: "CC BY 4.0, E. Alpaydin, C. Kaynak",
        files: &[Pinned { name: "optdigits.tes.csv", sha256: &["6ebb3d2fee246a4e99363262ddf8a00a3c41bee6014c373ed9d9216ba7f651b8"] }],
    },
    Set {
        name: "optdigits",
        about: "5,620 handwritten digits of 8x8 pixels; the stock UCI files, with all 3,823 training rows in .tra, load too",
        origin: "UCI Machine Learning Repository, Optical Recognition of Handwritten Digits, doi 10.24432/C50P49;\n           \
                 pinned: the copy of github.com/yupinghuang/optical_digits (data/), split into .tra and .hol, with comment lines",
        licence: "CC BY 4.0, E. Alpaydin, C. Kaynak",
        files: &[
            // The second pins are of the same rows without the comment line.
            Pinned {
                name: "optdigits.tra",
                sha256: &[
                    "a6d20dd0016ea85e8e207860d7b59411b07ddd18981ab250fa0ce37525570ab7",
                    "47a9555df1c63c60a03bea9e0a26d8baa850cee175159b54527c8033563b3f7d",
                ],
            },
            Pinned { name: "optdigits.hol", sha256: &["4e93dfa93f501c29e4b6e1db417db68be20a7acafd85e52939e04369ecde386a"] },
            Pinned {
                name: "optdigits.tes",
                sha256: &[
                    "94d7b3c067125a5f6a6d51cf1dc8e95de7d731e41c7f1e714897330242949464",
                    "6ebb3d2fee246a4e99363262ddf8a00a3c41bee6014c373ed9d9216ba7f651b8",
                ],
            },
        ],
    },
    Set {
        name: "mnist-t10k",
        about: "the 10,000 test images of MNIST, 28x28 pixels",
        origin: "the MNIST database of handwritten digits (Y. LeCun, C. Cortes, C. J. C. Burges);\n           \
                 pinned: the copy of github.com/kelas/mnist; the content is the same in every copy, plain or compressed",
        licence: "CC BY-SA 3.0",
        files: &[
            Pinned { name: "t10k-images-idx3-ubyte", sha256: &["0fa7898d509279e482958e8ce81c8e77db3f2f8254e26661ceb7762c4d494ce7"] },
            Pinned { name: "t10k-labels-idx1-ubyte", sha256: &["ff7bcfd416de33731a308c3f266cc351222c34898ecbeaf847f06e48f7ec33f2"] },
        ],
    },
];

/// Runs the command.
pub(crate) fn run(arguments: Vec<OsString>) -> Result<(), Failure> {
    let mut parser = lexopt::Parser::from_args(arguments);
    let mut folder = None;
    while let Some(argument) = parser.next()? {
        match argument {
            Long("check") => folder = Some(PathBuf::from(parser.value()?)),
            Short('h') | Long("help") => {
                print!("{HELP}");
                return Ok(());
            }
            other => return Err(other.unexpected().into()),
        }
    }
    match folder {
        Some(folder) => check(&folder),
        None => {
            print_sets();
            Ok(())
        }
    }
}

fn print_sets() {
    for set in SETS {
        println!("{}: {}\n  from     {}\n  licence  {}", set.name, set.about, set.origin, set.licence);
        for file in set.files {
            println!("  {:<26} {}", file.name, file.sha256.join(&format!("\n  {:<26} ", "or")));
        }
    }
}

fn check(folder: &Path) -> Result<(), Failure> {
    let files = files(folder)?;
    let (mut found, mut wrong, mut missing) = (0, 0, 0);
    for set in SETS {
        let own = |pinned: &Pinned| files.iter().filter(|file| plain_name(file) == pinned.name).collect::<Vec<_>>();
        let begun = set.files.iter().any(|pinned| !own(pinned).is_empty());
        for pinned in set.files.iter().filter(|_| begun) {
            if own(pinned).is_empty() {
                missing += 1;
                println!("missing   {} ({})", pinned.name, set.name);
            }
            for file in own(pinned) {
                found += 1;
                let same = pinned.sha256.contains(&sha256(file)?.as_str());
                wrong += usize::from(!same);
                let verdict = if same { "ok       " } else { "DIFFERENT" };
                println!("{verdict} {} ({})", file.display(), set.name);
            }
        }
    }
    match (found, wrong, missing) {
        (0, ..) => Err(Failure::Failed(format!("{}: no file of a known data set, here or one level below", folder.display()))),
        (_, 0, 0) => Ok(()),
        _ => Err(Failure::Failed(format!("{wrong} of {found} files differ from the pinned content, {missing} are missing"))),
    }
}

/// The name of a file without `.gz`.
fn plain_name(file: &Path) -> String {
    let name = file.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
    name.strip_suffix(".gz").map(str::to_owned).unwrap_or(name)
}

/// The files of a folder and of the folders in it, sorted.
fn files(folder: &Path) -> Result<Vec<PathBuf>, Failure> {
    let mut files = Vec::new();
    for path in entries(folder)? {
        if path.is_dir() {
            files.extend(entries(&path)?.into_iter().filter(|inner| inner.is_file()));
        } else {
            files.push(path);
        }
    }
    files.sort();
    Ok(files)
}

fn entries(folder: &Path) -> Result<Vec<PathBuf>, Failure> {
    let listing = std::fs::read_dir(folder).map_err(|error| failed(folder, &error))?;
    Ok(listing.flatten().map(|entry| entry.path()).collect())
}

/// Of what the file decompresses to where it is compressed, whatever its name.
fn sha256(file: &Path) -> Result<String, Failure> {
    let bytes = std::fs::read(file).map_err(|error| failed(file, &error))?;
    let content = if bytes.starts_with(&[0x1f, 0x8b]) {
        let mut plain = Vec::new();
        MultiGzDecoder::new(&bytes[..]).read_to_end(&mut plain).map_err(|error| failed(file, &error))?;
        plain
    } else {
        bytes
    };
    Ok(Sha256::digest(&content).iter().map(|byte| format!("{byte:02x}")).collect())
}

fn failed(path: &Path, error: &std::io::Error) -> Failure {
    Failure::Failed(format!("{}: {error}", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;

    fn scratch(name: &str) -> PathBuf {
        let folder = std::env::temp_dir().join(format!("gradus-xtask-{name}-{}", std::process::id()));
        std::fs::create_dir_all(folder.join("inner")).unwrap();
        folder
    }

    #[test]
    fn the_content_counts_and_not_how_it_is_compressed() {
        let folder = scratch("hash");
        let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        gzip.write_all(b"abc").unwrap();
        let gzip = gzip.finish().unwrap();
        for (name, bytes) in [("abc", b"abc" as &[u8]), ("abc.gz", &gzip), ("named as if plain", &gzip)] {
            let file = folder.join(name);
            std::fs::write(&file, bytes).unwrap();
            // The example of the standard, FIPS 180-2.
            assert_eq!(sha256(&file).unwrap(), "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad", "{name}");
        }
        std::fs::remove_dir_all(folder).unwrap();
    }

    #[test]
    fn changed_truncated_and_missing_files_fail() {
        let folder = scratch("check");
        assert!(matches!(check(&folder), Err(Failure::Failed(m)) if m.contains("no file")));
        std::fs::write(folder.join("inner/optdigits.tes"), "1,2,3\n").unwrap();
        assert!(matches!(check(&folder), Err(Failure::Failed(m)) if m.contains("1 of 1")));
        assert!(matches!(check(&folder), Err(Failure::Failed(m)) if m.contains("2 are missing")));
        std::fs::write(folder.join("t10k-labels-idx1-ubyte.gz"), [0x1f, 0x8b]).unwrap();
        assert!(matches!(check(&folder), Err(Failure::Failed(m)) if m.contains("t10k-labels")));
        std::fs::remove_dir_all(&folder).unwrap();
        assert!(matches!(check(&folder), Err(Failure::Failed(_))));
    }

    #[test]
    fn real_files_match_their_pins() {
        match std::env::var_os("GRADUS_DATA") {
            Some(folder) => check(Path::new(&folder)).unwrap(),
            // Not by a macro, whose text the test harness keeps for itself.
            None => writeln!(std::io::stderr(), "skipped: GRADUS_DATA").unwrap(),
        }
    }
}
