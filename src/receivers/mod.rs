//! Receivers: each turns one protocol into the model's vocabulary and hands it to the committer. They decode, and
//! decide nothing.

pub mod otlp;
