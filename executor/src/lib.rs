//! A minimal single-threaded async executor.
