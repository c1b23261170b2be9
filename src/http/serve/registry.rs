//! The connections of a listener: counted, swept, and at the limit the longest idle ones closed first.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::task::AbortHandle;
use tracing::{debug, warn};

use super::conn::{Conn, Limits, Now};
use crate::clock::Stopwatch;

/// How often connections are looked at.
pub const PERIOD: Duration = Duration::from_millis(250);
/// The gateway's own absence (a stopped process) is not the peers' delay: one look counts for no more than this.
const STEP_MAX: Duration = Duration::from_secs(1);
/// At the limit one in so many goes at once, so that a storm of connections does not mean a search for each of them.
const EVICTED_SHARE: usize = 64;

/// The connections of a listener.
pub struct Registry {
    limits: Limits,
    now: Now,
    looked: Mutex<Stopwatch>,
    open: Mutex<Open>,
}

#[derive(Default)]
struct Open {
    next: u64,
    connections: HashMap<u64, Entry>,
}

struct Entry {
    conn: Arc<Conn>,
    task: Option<AbortHandle>,
}

/// Takes a connection off the books when it ends, however it ends.
pub struct Place {
    registry: Arc<Registry>,
    id: u64,
}

impl Registry {
    pub fn new(limits: Limits) -> Self {
        let now = Now::new(AtomicU64::new(1));
        Self { limits, now, looked: Mutex::new(Stopwatch::start()), open: Mutex::default() }
    }

    /// A place for one more connection. `None`: all that are open have something to do.
    pub fn admit(self: &Arc<Self>) -> Option<(Arc<Conn>, Place)> {
        let mut open = self.open();
        if open.connections.len() >= self.limits.connections_max && evict(&mut open.connections) == 0 {
            return None;
        }
        let conn = Arc::new(Conn::new(self.now.clone()));
        let id = open.next;
        open.next += 1;
        open.connections.insert(id, Entry { conn: conn.clone(), task: None });
        Some((conn, Place { registry: self.clone(), id }))
    }

    /// The task that serves a connection, for ending it.
    pub fn served_by(&self, id: u64, task: AbortHandle) {
        // It may have ended already.
        if let Some(entry) = self.open().connections.get_mut(&id) {
            entry.task = Some(task);
        }
    }

    /// Moves the clock, and closes what has had its time.
    pub fn sweep(&self) {
        let elapsed = {
            let mut looked = self.looked.lock().unwrap_or_else(PoisonError::into_inner);
            std::mem::replace(&mut *looked, Stopwatch::start()).elapsed().min(STEP_MAX)
        };
        let step = u64::try_from(elapsed.as_millis()).unwrap_or(0);
        // What is marked between two looks has the time of the one before, so it may be younger by a step than it seems:
        // judged by that one, nobody is cut off early.
        let judged_at = self.now.fetch_add(step, Relaxed);
        self.open().connections.retain(|_, entry| {
            let Some(why) = entry.conn.overdue(judged_at, &self.limits) else { return true };
            // A connection that seems idle may get its next request right now: then it is not.
            if entry.conn.idle_since().is_some() && !entry.conn.close_if_idle() {
                return true;
            }
            debug!(?why, "closing a connection that has had its time");
            entry.end();
            false
        });
    }

    /// How many are open.
    #[cfg(test)]
    pub fn len(&self) -> usize {
        self.open().connections.len()
    }

    fn open(&self) -> MutexGuard<'_, Open> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Entry {
    fn end(&self) {
        if let Some(task) = &self.task {
            task.abort();
        }
    }
}

impl Place {
    pub const fn id(&self) -> u64 {
        self.id
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.registry.open().connections.remove(&self.id);
    }
}

/// Closes the longest idle connections; gives how many.
fn evict(connections: &mut HashMap<u64, Entry>) -> usize {
    // The clock is coarse: of those with one time, those that never asked for anything go first.
    let mut idle: Vec<(u64, bool, u64)> = connections
        .iter()
        .filter(|(_, entry)| entry.task.is_some())
        .filter_map(|(id, entry)| Some((entry.conn.idle_since()?, entry.conn.was_of_use(), *id)))
        .collect();
    let wanted = (connections.len() / EVICTED_SHARE).max(1).min(idle.len());
    if wanted == 0 {
        return 0;
    }
    idle.select_nth_unstable(wanted - 1);
    let mut evicted = 0;
    for (.., id) in &idle[..wanted] {
        if connections.get(id).is_some_and(|entry| entry.conn.close_if_idle())
            && let Some(entry) = connections.remove(id)
        {
            entry.end();
            evicted += 1;
        }
    }
    warn!(evicted, "as many connections as may be are open; closed the longest idle ones (server.max_connections)");
    evicted
}

#[cfg(test)]
mod tests {
    use super::*;

    fn registry(connections_max: usize) -> Arc<Registry> {
        Arc::new(Registry::new(Limits { connections_max, ..Limits::default() }))
    }

    fn serve(registry: &Registry, place: &Place) -> tokio::task::JoinHandle<()> {
        let task = tokio::spawn(std::future::pending());
        registry.served_by(place.id(), task.abort_handle());
        task
    }

    #[tokio::test(start_paused = true)]
    async fn lim_5_at_the_limit_the_longest_idle_goes_first() {
        let registry = registry(3);
        let mut open = Vec::new();
        for _ in 0..3 {
            let (conn, place) = registry.admit().unwrap();
            let task = serve(&registry, &place);
            open.push((conn, place, task));
            tokio::time::advance(PERIOD).await;
            registry.sweep();
        }
        // The first one works on a request, so the second one is the longest idle.
        assert!(open[0].0.begin(axum::http::Version::HTTP_11));
        let (conn, _place) = registry.admit().unwrap();
        assert!((&mut open[1].2).await.unwrap_err().is_cancelled());
        assert!(!open[0].2.is_finished() && !open[2].2.is_finished());
        assert_eq!(registry.len(), 3);
        // When all are busy, the new one has to wait outside.
        assert!(open[2].0.begin(axum::http::Version::HTTP_11) && conn.begin(axum::http::Version::HTTP_11));
        assert!(registry.admit().is_none());
        open.remove(0);
        assert!(registry.admit().is_some());
    }

    #[tokio::test(start_paused = true)]
    async fn the_gateways_own_absence_is_not_the_peers_delay() {
        let registry = registry(3);
        let (_, place) = registry.admit().unwrap();
        let task = serve(&registry, &place);
        tokio::time::advance(Duration::from_secs(600)).await;
        registry.sweep();
        assert_eq!(registry.len(), 1);
        for _ in 0..40 {
            tokio::time::advance(PERIOD).await;
            registry.sweep();
        }
        assert!(task.await.unwrap_err().is_cancelled());
        assert_eq!(registry.len(), 0);
    }
}
