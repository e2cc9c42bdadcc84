//! Checkpoint merging: averaging, soups and Fisher-weighted averaging, in memory and on files
