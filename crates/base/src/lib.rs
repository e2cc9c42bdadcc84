//! Seeded random streams, progress and cancellation, atomic files: what is not about learning
