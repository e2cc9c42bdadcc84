//! Gradient-based learning beyond plain training. One feature per crate; each module below is that crate.

#[cfg(feature = "autodiff")]
pub use gradus_autodiff as autodiff;
pub use gradus_base as base;
#[cfg(feature = "checkpoint")]
pub use gradus_checkpoint as checkpoint;
#[cfg(feature = "data")]
pub use gradus_data as data;
#[cfg(feature = "games")]
pub use gradus_games as games;
#[cfg(feature = "learning")]
pub use gradus_learning as learning;
#[cfg(feature = "merging")]
pub use gradus_merging as merging;
#[cfg(feature = "models")]
pub use gradus_models as models;
#[cfg(feature = "optimizers")]
pub use gradus_optimizers as optimizers;

/// The examples of the pages that show more than one crate, and of those crates' READMEs that have no tests of their own.
#[cfg(doctest)]
mod pages {
    macro_rules! pages {
        ($($name:ident: $page:literal,)*) => { $(#[doc = include_str!($page)] mod $name {})* };
    }
    pages! {
        readme: "../../../README.md",
        autodiff: "../../autodiff/README.md",
        autodiff_derive: "../../autodiff-derive/README.md",
        base: "../../base/README.md",
        checkpoint: "../../checkpoint/README.md",
        data: "../../data/README.md",
        models: "../../models/README.md",
        optimizers: "../../optimizers/README.md",
        getting_started: "../../../docs/src/guide/getting-started.md",
        coming_from: "../../../docs/src/guide/coming-from-pytorch-or-jax.md",
        derivatives: "../../../docs/src/guide/derivatives.md",
        per_example: "../../../docs/src/guide/per-example.md",
        models_as_data: "../../../docs/src/guide/models-as-data.md",
        data_page: "../../../docs/src/guide/data.md",
        layers: "../../../docs/src/guide/layers.md",
        training: "../../../docs/src/guide/training.md",
        checkpoints: "../../../docs/src/guide/checkpoints.md",
        games: "../../../docs/src/guide/games.md",
        small_gain_nash: "../../../docs/src/guide/small-gain-nash.md",
        is_my_training_going_to_converge: "../../../docs/src/guide/is-my-training-going-to-converge.md",
        merging: "../../../docs/src/guide/merging.md",
    }
}
