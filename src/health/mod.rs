//! The pure core: what an observation means for one agent. No I/O, no clock, no async, no panic, bounded state.
//!
//! [`apply`] is total: any observation on any state gives a state and effects. The status is a function of the
//! conditions ([`status::derive`]); conditions are judged by [`conditions::judge`] at every input and at every deadline.

mod apply;
pub mod budget;
pub mod conditions;
mod explain;
mod flapping;
mod fleet;
mod group;
mod loops;
mod progress;
mod reason;
pub mod restart;
mod signals;
pub mod status;
#[cfg(test)]
mod tests;
mod usage;

pub use apply::{Effects, Moment, RestartWish, apply, warning};
pub use explain::explain;
pub use fleet::{Fleet, fleet, restart_asked, restart_ended, spending, spent};
pub use group::{group_event, is_group_silent};
pub use reason::{Finding, active, finding, reason};
