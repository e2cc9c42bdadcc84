//! One file per paper: its claims, the run, the figures
