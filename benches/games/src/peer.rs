//! The peer: NumPy and mpmath, in a process of their own.

use std::cell::RefCell;
use std::path::{Path, PathBuf};
use std::rc::Rc;

use gradus_benches_common::{Link, median};
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::Value;

use crate::Failure;
use crate::group::Side;

/// A running peer.
pub(crate) struct Peer {
    link: Rc<RefCell<Link>>,
    id: u32,
    folder: PathBuf,
    /// The versions of what it uses.
    pub(crate) version: String,
}

impl Peer {
    pub(crate) fn start(python: &Path, threads: usize, folder: &Path) -> Result<Self, Failure> {
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).with_file_name("peers").join("games_numpy.py");
        let mut link = Link::start(python, &script, threads).map_err(Failure::Peer)?;
        let version = link.ask("version").map_err(Failure::Peer)?;
        let (id, version) = (link.id(), version.as_str().unwrap_or_default().to_owned());
        Ok(Self { link: Rc::new(RefCell::new(link)), id, folder: folder.to_owned(), version })
    }

    /// The process id.
    pub(crate) fn id(&self) -> u32 {
        self.id
    }

    /// Hands over inputs, as JSON, and returns what a workload makes of them.
    pub(crate) fn outputs<R: DeserializeOwned>(&self, workload: &str, inputs: &impl Serialize) -> Result<R, Failure> {
        let [from, to] = ["inputs", "outputs"].map(|part| self.folder.join(part).join(format!("{workload}.json")));
        let failed = |file: &Path| {
            let file = file.to_owned();
            move |source| Failure::File { file, source }
        };
        std::fs::write(&from, serde_json::to_string(inputs)?).map_err(failed(&from))?;
        self.ask(&format!("load\t{workload}\t{}", from.display()))?;
        self.ask(&format!("outputs\t{workload}\t{}", to.display()))?;
        Ok(serde_json::from_str(&std::fs::read_to_string(&to).map_err(failed(&to))?)?)
    }

    /// Turns of a workload, each the median of some calls after one that is not timed.
    pub(crate) fn side(&self, workload: &'static str, calls: usize) -> Side {
        let link = Rc::clone(&self.link);
        Side::timed(move || {
            let answer = link.borrow_mut().ask(&format!("run\t{workload}\t1\t{calls}")).map_err(Failure::Peer)?;
            let times: Vec<f64> = answer.as_array().into_iter().flatten().filter_map(Value::as_f64).collect();
            if times.len() == calls { Ok(median(&times)) } else { Err(Failure::Peer(format!("{} times came back", times.len()))) }
        })
    }

    fn ask(&self, command: &str) -> Result<Value, Failure> {
        self.link.borrow_mut().ask(command).map_err(Failure::Peer)
    }
}
