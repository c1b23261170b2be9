//! Pulsegate: a gateway for the health of AI agents.
//!
//! What comes in becomes an [`model::Observation`]; [`health::apply`] decides what it means; [`ingest`] turns what was
//! decided into commits of a [`store::Store`]; everything else is read from there. `ARCHITECTURE.md` is the map.

pub mod api;
pub mod app;
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
pub mod prices;
pub mod proto;
pub mod receivers;
pub mod store;
pub mod telemetry;
