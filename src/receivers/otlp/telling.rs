//! Which traces told something about agents lately. The span that a call hangs on (a web server's, say) often comes in a
//! later request, with nothing about agents in it: it is needed to see that the trace is complete. All other telemetry that
//! tells nothing is dropped before it costs anything.

use std::sync::{Arc, Mutex, PoisonError};

use crate::model::{ProjectId, QuickSet, TraceId, TraceSpans};

/// How many traces are remembered, at least, at most twice as many.
const REMEMBERED_MIN: usize = 50_000;

/// Traces that told something. Clones share what they know.
#[derive(Clone, Debug, Default)]
pub struct Telling(Arc<Mutex<Generations>>);

#[derive(Debug, Default)]
struct Generations {
    new: QuickSet<(ProjectId, TraceId)>,
    old: QuickSet<(ProjectId, TraceId)>,
}

impl Telling {
    /// Remembers `telling`, and takes out of `silent` what belongs to a trace that told something before.
    pub fn sift(&self, project: ProjectId, telling: &[TraceSpans], silent: &mut Vec<TraceSpans>) {
        let mut generations = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        for trace in telling {
            generations.new.insert((project, trace.trace));
        }
        if generations.new.len() >= REMEMBERED_MIN {
            generations.old = std::mem::take(&mut generations.new);
        }
        silent.retain(|t| {
            let key = (project, t.trace);
            generations.new.contains(&key) || generations.old.contains(&key)
        });
    }
}
