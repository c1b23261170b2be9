//! Pulsegate: a gateway for the health of AI agents.

pub mod clock;
pub mod exporters;
pub mod http;
pub mod ids;
pub mod ingest;
pub mod model;
pub mod store;
pub mod telemetry;
