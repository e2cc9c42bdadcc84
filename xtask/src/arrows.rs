//! Which crate of the workspace may use which: the arrows point one way, dev-dependencies included.

use crate::{Failure, cargo};

const GROUND: &[&str] = &["base", "checkpoint", "data", "autodiff", "autodiff-derive"];
const METHODS: &[&str] = &["merging", "learning"];
/// Methods that stand on the ground: they know no tensors.
const PLAIN_METHODS: &[&str] = &["games"];

/// The floors that a crate stands on, or `None` for a crate that has no place in the map yet.
///
/// Crates on one floor do not use each other, so no list names a crate's own floor.
fn allowed(name: &str) -> Option<Vec<&'static str>> {
    let floors: &[&[&'static str]] = match name {
        "base" | "autodiff-derive" | "xtask" | "benches-common" => &[],
        "checkpoint" | "data" | "report" => &[&["base"]],
        // Tensors only behind the feature `autodiff`, which is off by default.
        _ if PLAIN_METHODS.contains(&name) => &[&["base", "autodiff"]],
        "autodiff" => &[&["base", "autodiff-derive"]],
        "optimizers" => &[GROUND],
        "models" => &[GROUND, &["optimizers"]],
        _ if METHODS.contains(&name) => &[GROUND, &["optimizers", "models"]],
        "gradus" => &[GROUND, &["optimizers", "models"], PLAIN_METHODS, METHODS],
        "experiments" => &[GROUND, &["optimizers", "models"], PLAIN_METHODS, METHODS, &["report"]],
        "benches" => &[GROUND, &["optimizers", "models"], PLAIN_METHODS, METHODS, &["report", "benches-common"]],
        // Without the tensor crate, which would take minutes to compile.
        "benches-games" => &[&["base", "games", "benches-common"]],
        "cli" => &[&["base", "experiments", "report"], PLAIN_METHODS],
        _ => return None,
    };
    Some(floors.concat())
}

/// The crates that methods live in.
pub(crate) fn methods() -> Vec<&'static str> {
    [PLAIN_METHODS, METHODS, &["optimizers"]].concat()
}

/// Whether a crate holds methods.
pub(crate) fn is_method(name: &str) -> bool {
    methods().contains(&name)
}

/// Every arrow of the workspace that the map does not have, as sentences.
pub(crate) fn violations() -> Result<Vec<String>, Failure> {
    Ok(check(&workspace_tree()?))
}

fn workspace_tree() -> Result<String, Failure> {
    cargo::output(&mut cargo::command(&[
        "tree",
        "--workspace",
        "--all-features",
        "--target",
        "all",
        // Otherwise a crate whose dependencies were shown under another is listed without them.
        "--no-dedupe",
        "--edges",
        "normal,dev,build",
        "--depth",
        "1",
        "--prefix",
        "depth",
    ]))
}

/// `tree` is the output of `cargo tree --depth 1 --prefix depth`: `0user v…` and, below it, `1used v…`.
fn check(tree: &str) -> Vec<String> {
    let mut user = "";
    let mut found = Vec::new();
    for line in tree.lines() {
        let Some(package) = line.get(1..).and_then(|rest| rest.split(' ').next()) else {
            continue;
        };
        if line.starts_with('0') {
            user = short(package);
            if allowed(user).is_none() {
                found.push(format!("{user} has no place in xtask/src/arrows.rs: add its arrows there"));
            }
        } else if is_ours(package) && allowed(user).is_some_and(|used| !used.contains(&short(package))) {
            found.push(format!("{user} must not use {}", short(package)));
        }
    }
    found
}

fn is_ours(package: &str) -> bool {
    package == "gradus" || package == "xtask" || package.starts_with("gradus-")
}

fn short(package: &str) -> &str {
    package.strip_prefix("gradus-").unwrap_or(package)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn arrows_of_the_map_pass() {
        let tree = "0gradus-base v0.1.0 (/w/crates/base)\n1rand v0.10.0\n1proptest v1.12.0\n\n\
                    0gradus-merging v0.1.0 (/w/crates/merging)\n1gradus-autodiff v0.1.0 (/w)\n1gradus-base v0.1.0 (*)\n";
        assert_eq!(check(tree), Vec::<String>::new());
    }

    #[test]
    fn upward_and_sideways_arrows_are_named() {
        let tree = "0gradus-optimizers v0.1.0\n1gradus-models v0.1.0\n0gradus-merging v0.1.0\n1gradus-learning v0.1.0\n";
        assert_eq!(check(tree), ["optimizers must not use models", "merging must not use learning"]);
    }

    #[test]
    fn a_crate_without_a_place_is_named() {
        assert!(check("0gradus-quantum v0.1.0\n1rand v0.10.0\n")[0].contains("quantum has no place"));
    }

    #[test]
    fn every_arrow_of_this_workspace_is_seen() {
        let tree = workspace_tree().unwrap();
        let models = tree.split("\n0gradus-models ").nth(1).unwrap();
        let below = models.split("\n0").next().unwrap();
        assert!(below.contains("\n1gradus-optimizers "), "{below}");
    }

    #[test]
    fn no_crate_may_reach_itself() {
        let mut names =
            vec!["optimizers", "models", "report", "experiments", "cli", "gradus", "xtask", "benches", "benches-common", "benches-games"];
        names.extend(GROUND);
        names.extend(METHODS);
        for start in names {
            let mut open = allowed(start).unwrap();
            let mut seen = Vec::new();
            while let Some(next) = open.pop() {
                assert_ne!(next, start, "a circle through {start}");
                if !seen.contains(&next) {
                    seen.push(next);
                    open.extend(allowed(next).unwrap());
                }
            }
        }
    }
}
