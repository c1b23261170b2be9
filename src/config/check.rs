//! What the sections use to check themselves: ranges, with the fault at the line that caused it.

use std::sync::Arc;
use std::time::Duration;

use super::read;
use super::tree::{Fault, KeyPath, Node, Value};
use super::values::Bytes;
use crate::model::{Policy, PolicyPatch, Span, exact};

/// The tree that was read, for finding lines, and the faults so far.
pub(super) struct Checker<'t> {
    pub tree: &'t Node,
    pub faults: Vec<Fault>,
}

impl Checker<'_> {
    /// Notes what is wrong at `path`.
    pub fn fault(&mut self, path: KeyPath, problem: impl Into<String>) {
        self.faults.push(Fault { origin: self.tree.origin_of(&path), path, problem: problem.into() });
    }

    /// The duration written, or the default; a fault when it is out of range.
    pub fn span(&mut self, path: KeyPath, value: Option<Span>, default: Duration, range: [Duration; 2]) -> Duration {
        let value = value.map_or(default, |s| s.0);
        self.range(path, value, range, exact);
        value
    }

    /// The number written, or the default; a fault when it is out of range.
    pub fn number(&mut self, path: KeyPath, value: Option<u32>, default: u32, range: [u32; 2]) -> u32 {
        let value = value.unwrap_or(default);
        self.range(path, value, range, |n| n.to_string());
        value
    }

    /// The number with a fraction written, or the default; a fault when it is out of range.
    pub fn fraction(&mut self, path: KeyPath, value: Option<f64>, default: f64, range: [f64; 2]) -> f64 {
        let value = value.unwrap_or(default);
        self.range(path, value, range, |n| n.to_string());
        value
    }

    /// The bytes written, or the default; a fault when they are out of range.
    pub fn bytes(&mut self, path: KeyPath, value: Option<Bytes>, default: u64, range: [u64; 2]) -> u64 {
        let value = value.map_or(default, |b| b.0);
        self.range(path, value, range, |n| Bytes(n).to_string());
        value
    }

    /// The policy that `patch` makes of `base`; faults for everything out of range.
    pub fn policy(&mut self, path: &KeyPath, patch: &PolicyPatch, base: &Policy) -> Arc<Policy> {
        let mut left = patch.clone();
        let mut node = self.tree.at(path).cloned();
        // `check` tells the first mistake only: that one is taken away and the rest is checked again.
        while let Err(error) = left.check() {
            self.fault(path.key(&error.field), error.problem);
            let Some(node) = &mut node else { break };
            let Some(bad) = node.at_mut(&KeyPath::default().key(&error.field)) else { break };
            bad.value = Value::Faulty;
            let Some(rest) = read::read(node, &mut Vec::new()) else { break };
            left = rest;
        }
        let mut policy = base.clone();
        patch.apply_to(&mut policy);
        Arc::new(policy)
    }

    fn range<T: PartialOrd + Copy>(&mut self, path: KeyPath, value: T, [min, max]: [T; 2], say: impl Fn(T) -> String) {
        // (Also what is no number at all.)
        if !(value >= min && value <= max) {
            let problem = format!("{} is out of range; allowed is {} to {}", say(value), say(min), say(max));
            self.fault(path, problem);
        }
    }
}
