//! A light WebAssembly Component Model host.
