//! What leaves the gateway as metrics. [`catalogue`] says what is told of an agent; each exporter says it in its own words.

pub mod catalogue;
pub mod docs;
pub mod forward;
pub mod prometheus;
mod readings;
