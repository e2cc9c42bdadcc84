//! Data sets, loaders for their original file formats, seeded batches and metrics
