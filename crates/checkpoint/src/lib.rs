//! Named arrays in safetensors files: read, write, memory-map
