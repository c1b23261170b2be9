//! What comes in from outside, decoded: every receiver turns one wire into observations, spans or notices, hands them to
//! the committer and answers. No decision about health is made here.
//!
//! [`alertmanager`]: alerts of a Prometheus Alertmanager about agents.
//!
//! [`heartbeat`]: the heartbeat API (`POST /api/v1/heartbeat` and its batch), as the ClevAgent clients speak it.
//!
//! [`langfuse`]: webhooks of Langfuse, and trace or observation JSON that others relay in its name.
//!
//! [`otlp`]: spans, logs and metrics of OpenTelemetry, over gRPC and HTTP.
//!
//! [`ping`]: the ping addresses of Healthchecks, for cron jobs.
//!
//! [`probes`]: what agents depend on, asked by the gateway itself.

pub mod alertmanager;
pub mod heartbeat;
pub mod langfuse;
pub mod otlp;
pub mod ping;
pub mod probes;

mod json;
mod submit;

pub use submit::Submit;
