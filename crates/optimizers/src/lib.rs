//! Update rules for models that are plain data: SGD, Adam, clipping
