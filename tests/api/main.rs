//! The API as a client meets it: a whole gateway in this process, over HTTP, at a time that the story sets.

mod administration;
mod agents;
mod alerts;
mod docs;
mod gateway;
mod limits;
mod matrix;
mod operations;
mod pings;
mod registration;
mod slow;
mod stream;
mod truth;
