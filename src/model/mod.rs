//! The vocabulary: plain data that every other module speaks. No I/O, no clock, no decisions.

mod agent;
mod command;
mod event;
mod fleet;
mod histogram;
mod ids;
mod money;
mod observation;
mod plain;
mod policy;
mod presence;
mod project;
mod rolling;
mod schedule;
mod settings;
mod status;
mod time;
mod trace;

pub use agent::*;
pub use command::*;
pub use event::*;
pub use fleet::*;
pub use histogram::*;
pub use ids::*;
pub use money::*;
pub use observation::*;
pub use plain::*;
pub use policy::*;
pub use presence::*;
pub use project::*;
pub use rolling::*;
pub use schedule::*;
pub use settings::*;
pub use status::*;
pub use time::*;
pub use trace::*;
