//! Pulsegate: a gateway for the health of AI agents.

pub mod api;
pub mod clock;
pub mod config;
pub mod control;
pub mod evaluator;
pub mod exporters;
pub mod health;
pub mod http;
pub mod ids;
pub mod ingest;
pub mod model;
pub mod proto;
pub mod receivers;
pub mod store;
pub mod telemetry;
