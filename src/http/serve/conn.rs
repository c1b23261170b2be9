//! What is known of one connection, and when it has had its time.
//!
//! Everything here is an atomic that the connection's own task writes in passing and the listener's sweep reads a few
//! times a second: no timer per connection or request, and no clock read for them. Times are milliseconds of the
//! listener's own coarse clock, which begins at 1, so that 0 can mean "not now".

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU32, AtomicU64, Ordering::Relaxed, Ordering::SeqCst};
use std::time::Duration;

use axum::http::Version;

/// How long a connection may take for what. All are found out within half a second.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Connections one listener keeps open. At the limit the longest idle ones go first.
    pub connections_max: usize,
    /// From the connection to the headers of its first request; a TLS handshake is within it.
    pub first_request: Duration,
    /// From the first byte of a later request to the end of its headers.
    pub headers: Duration,
    /// Without a byte of a request's body, and what a body may take besides a second for every
    /// [`BODY_BYTES_PER_SECOND`].
    pub body: Duration,
    /// Without a request. Well above the 10 s at which the published runner asks for commands over one connection.
    pub idle: Duration,
    /// Without the peer taking anything of an answer that is ready.
    pub send: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            connections_max: 5_000,
            first_request: Duration::from_secs(10),
            headers: Duration::from_secs(10),
            body: Duration::from_secs(30),
            idle: Duration::from_secs(75),
            send: Duration::from_secs(30),
        }
    }
}

/// A body that is slower than this on average has had its time.
pub const BODY_BYTES_PER_SECOND: u64 = 16 * 1024;
/// The headers of one request, in bytes, HTTP/1.
pub const HEAD_BYTES_MAX: u32 = 16 * 1024;

/// Set in `busy` when the sweep has decided to close: no request begins any more.
const CLOSING: u32 = 1 << 31;

/// The listener's coarse clock, in milliseconds.
pub type Now = Arc<AtomicU64>;

/// A connection.
#[derive(Debug)]
pub struct Conn {
    now: Now,
    opened: u64,
    /// 0: nothing read yet, 1: HTTP/1, 2: HTTP/2.
    kind: AtomicU8,
    served: AtomicBool,
    /// Requests not yet answered to the end.
    busy: AtomicU32,
    idle_since: AtomicU64,
    head_since: AtomicU64,
    head_bytes: AtomicU32,
    body_due: AtomicU64,
    blocked_since: AtomicU64,
    /// Answers of which a part waits for the peer.
    owed: AtomicU32,
    owed_since: AtomicU64,
}

/// Why a connection is closed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Overdue {
    FirstRequest,
    Headers,
    Body,
    Idle,
    Send,
}

impl Conn {
    pub fn new(now: Now) -> Self {
        let opened = now.load(Relaxed);
        Self {
            now,
            opened,
            kind: AtomicU8::new(0),
            served: AtomicBool::new(false),
            busy: AtomicU32::new(0),
            idle_since: AtomicU64::new(opened),
            head_since: AtomicU64::new(0),
            head_bytes: AtomicU32::new(0),
            body_due: AtomicU64::new(0),
            blocked_since: AtomicU64::new(0),
            owed: AtomicU32::new(0),
            owed_since: AtomicU64::new(0),
        }
    }

    fn now(&self) -> u64 {
        self.now.load(Relaxed)
    }

    /// Whether more may be read: false when the headers of a request have become too long.
    pub fn may_read(&self) -> bool {
        self.kind.load(Relaxed) == 2 || self.head_bytes.load(Relaxed) <= HEAD_BYTES_MAX
    }

    /// `bytes` were read.
    pub fn has_read(&self, bytes: &[u8]) {
        if self.kind.load(Relaxed) == 0 {
            // The one request line of HTTP/2's preface; no method of HTTP/1 begins like it.
            self.kind.store(if bytes.starts_with(b"PRI") { 2 } else { 1 }, Relaxed);
        }
        if self.busy.load(Relaxed) == 0 {
            self.head_bytes.fetch_add(u32::try_from(bytes.len()).unwrap_or(u32::MAX >> 1), Relaxed);
            if self.head_since.load(Relaxed) == 0 {
                self.head_since.store(self.now(), Relaxed);
            }
        }
    }

    /// The socket took something, or (`false`) took nothing although there is something.
    pub fn has_written(&self, taken: bool) {
        if taken {
            if self.blocked_since.load(Relaxed) != 0 {
                self.blocked_since.store(0, Relaxed);
            }
        } else if self.blocked_since.load(Relaxed) == 0 {
            self.blocked_since.store(self.now(), Relaxed);
        }
    }

    /// The headers of a request are complete. `false`: too late, it is being closed.
    pub fn begin(&self, version: Version) -> bool {
        if self.busy.fetch_add(1, SeqCst) & CLOSING != 0 {
            return false;
        }
        self.kind.store(if version == Version::HTTP_2 { 2 } else { 1 }, Relaxed);
        self.served.store(true, Relaxed);
        self.head_since.store(0, Relaxed);
        self.head_bytes.store(0, Relaxed);
        true
    }

    /// A request was answered to the end, or given up.
    pub fn end(&self) {
        self.idle_since.store(self.now(), Relaxed);
        self.body_due.store(0, Relaxed);
        self.busy.fetch_sub(1, SeqCst);
    }

    /// Waits for more of the body of its one request, until `due` (0: does not wait).
    pub fn awaits_body(&self, due: u64) {
        self.body_due.store(due, Relaxed);
    }

    /// The coarse time, for bodies.
    pub fn time(&self) -> u64 {
        self.now()
    }

    /// One more answer has something for the peer.
    pub fn owes(&self) {
        self.owed.fetch_add(1, Relaxed);
        self.owed_since.store(self.now(), Relaxed);
    }

    /// The peer took a part of an answer, and more is there.
    pub fn goes_on(&self) {
        self.owed_since.store(self.now(), Relaxed);
    }

    /// The peer has all there is of an answer.
    pub fn owes_no_more(&self) {
        self.owed.fetch_sub(1, Relaxed);
        self.owed_since.store(self.now(), Relaxed);
    }

    /// Since when it has nothing to do; `None` while it has.
    pub fn idle_since(&self) -> Option<u64> {
        (self.busy.load(SeqCst) == 0).then(|| self.idle_since.load(Relaxed))
    }

    /// Whether it ever had a request.
    pub fn was_of_use(&self) -> bool {
        self.served.load(Relaxed)
    }

    /// Claims the connection for closing, unless a request has begun.
    pub fn close_if_idle(&self) -> bool {
        self.busy.compare_exchange(0, CLOSING, SeqCst, SeqCst).is_ok()
    }

    /// Why it must be closed at `now`, if so.
    pub fn overdue(&self, now: u64, limits: &Limits) -> Option<Overdue> {
        let over =
            |since: u64, limit: Duration| since != 0 && u128::from(now.saturating_sub(since)) >= limit.as_millis();
        if !self.served.load(Relaxed) && over(self.opened, limits.first_request) {
            return Some(Overdue::FirstRequest);
        }
        if over(self.blocked_since.load(Relaxed), limits.send)
            // Twice the time: a peer that takes its answers slowly, but takes them, empties the socket now and then.
            || self.owed.load(Relaxed) != 0 && over(self.owed_since.load(Relaxed), 2 * limits.send)
        {
            return Some(Overdue::Send);
        }
        let due = self.body_due.load(Relaxed);
        if due != 0 && now >= due {
            return Some(Overdue::Body);
        }
        // HTTP/2 has frames between requests; its pings find out who is gone.
        if self.kind.load(Relaxed) != 1 || self.busy.load(SeqCst) != 0 {
            return None;
        }
        if over(self.head_since.load(Relaxed), limits.headers) {
            return Some(Overdue::Headers);
        }
        over(self.idle_since.load(Relaxed), limits.idle).then_some(Overdue::Idle)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn conn() -> (Now, Conn) {
        let now = Now::new(AtomicU64::new(1));
        (now.clone(), Conn::new(now))
    }

    fn at(now: &Now, secs: u64) -> u64 {
        now.store(1 + secs * 1000, Relaxed);
        1 + secs * 1000
    }

    const LIMITS: Limits = Limits {
        connections_max: 1,
        first_request: Duration::from_secs(10),
        headers: Duration::from_secs(5),
        body: Duration::from_secs(30),
        idle: Duration::from_secs(75),
        send: Duration::from_secs(20),
    };

    #[test]
    fn lim_1_2_3_the_first_request_must_come_whatever_trickles_in() {
        let (now, conn) = conn();
        assert_eq!(conn.overdue(at(&now, 9), &LIMITS), None);
        conn.has_read(b"P");
        assert_eq!(conn.overdue(at(&now, 10), &LIMITS), Some(Overdue::FirstRequest));
        assert!(conn.begin(Version::HTTP_11));
        assert_eq!(conn.overdue(at(&now, 3600), &LIMITS), None, "a request may take its time to be answered");
    }

    #[test]
    fn lim_4_later_requests_have_their_own_deadlines() {
        let (now, conn) = conn();
        assert!(conn.begin(Version::HTTP_11));
        conn.end();
        assert_eq!(conn.overdue(at(&now, 74), &LIMITS), None);
        conn.has_read(b"GE");
        at(&now, 78);
        conn.has_read(b"T");
        assert_eq!(conn.overdue(at(&now, 78), &LIMITS), Some(Overdue::Idle), "idle counts from the answer");
        assert!(conn.begin(Version::HTTP_11));
        conn.end();
        at(&now, 80);
        conn.has_read(b"GE");
        assert_eq!(conn.overdue(at(&now, 84), &LIMITS), None);
        assert_eq!(conn.overdue(at(&now, 85), &LIMITS), Some(Overdue::Headers));
    }

    #[test]
    fn lim_4_who_takes_nothing_is_closed() {
        let (now, conn) = conn();
        assert!(conn.begin(Version::HTTP_11));
        conn.has_written(false);
        assert_eq!(conn.overdue(at(&now, 19), &LIMITS), None);
        assert_eq!(conn.overdue(at(&now, 20), &LIMITS), Some(Overdue::Send));
        conn.has_written(true);
        assert_eq!(conn.overdue(at(&now, 30), &LIMITS), None);
        // An HTTP/2 peer with a window of one byte: the socket takes everything, the answer does not go.
        conn.owes();
        assert_eq!(conn.overdue(at(&now, 69), &LIMITS), None);
        assert_eq!(conn.overdue(at(&now, 70), &LIMITS), Some(Overdue::Send));
        conn.owes_no_more();
        assert_eq!(conn.overdue(at(&now, 500), &LIMITS), None, "a stream without news is our silence, not the peer's");
    }

    #[test]
    fn headers_are_bounded_and_bodies_are_not_headers() {
        let (_, conn) = conn();
        conn.has_read(&[b'x'; 9000]);
        assert!(conn.may_read());
        conn.has_read(&[b'x'; 9000]);
        assert!(!conn.may_read());
        let (_, conn) = self::conn();
        conn.has_read(b"POST / HTTP/1.1");
        assert!(conn.begin(Version::HTTP_11));
        conn.has_read(&[b'x'; 1 << 20]);
        assert!(conn.may_read());
    }

    #[test]
    fn a_request_and_the_decision_to_close_exclude_each_other() {
        let (_, conn) = conn();
        assert!(conn.begin(Version::HTTP_11));
        assert!(!conn.close_if_idle());
        conn.end();
        assert!(conn.close_if_idle());
        assert!(!conn.begin(Version::HTTP_11), "a request that would be carried out without an answer");
    }
}
