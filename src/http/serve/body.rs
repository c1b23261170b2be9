//! Bodies on their way: a request's must go on, an answer's must be taken.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use axum::body::Body;
use axum::http::Version;
use bytes::Bytes;
use hyper::body::{Body as HttpBody, Frame, Incoming, SizeHint};
use tokio::time::Sleep;

use super::conn::{BODY_BYTES_PER_SECOND, Conn};

/// Says that a request's body did not arrive in time.
#[derive(Debug, thiserror::Error)]
#[error("the request body did not arrive in time")]
pub struct TooSlow;

/// One request: counts as in progress until it is dropped.
pub struct Exchange(Arc<Conn>);

impl Exchange {
    /// `None`: the connection is being closed.
    pub fn begin(conn: &Arc<Conn>, version: Version) -> Option<Self> {
        conn.begin(version).then(|| Self(conn.clone()))
    }
}

impl Drop for Exchange {
    fn drop(&mut self) {
        self.0.end();
    }
}

/// The body of a request.
///
/// Of HTTP/1 there is one at a time, so its deadline is the connection's, which the sweep looks at: no timer, no clock.
/// Of HTTP/2 there are many, and one that stands still must not hide behind others: each has a timer, from the first time
/// it is waited for.
pub struct Inbound {
    body: Incoming,
    conn: Arc<Conn>,
    patience: Duration,
    started: u64,
    bytes: u64,
    timer: Option<Pin<Box<Sleep>>>,
    shared: bool,
}

impl Inbound {
    pub fn new(body: Incoming, conn: Arc<Conn>, version: Version, patience: Duration) -> Self {
        let (started, shared) = (conn.time(), version == Version::HTTP_2);
        Self { body, conn, patience, started, bytes: 0, timer: None, shared }
    }

    /// When the next byte must have come.
    fn due(&self) -> u64 {
        let patience = u64::try_from(self.patience.as_millis()).unwrap_or(u64::MAX);
        let fair = self.started.saturating_add(patience).saturating_add(self.bytes * 1000 / BODY_BYTES_PER_SECOND);
        fair.min(self.conn.time().saturating_add(patience))
    }
}

impl HttpBody for Inbound {
    type Data = Bytes;
    type Error = axum::BoxError;

    fn poll_frame(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Self::Error>>> {
        let this = self.get_mut();
        match Pin::new(&mut this.body).poll_frame(cx) {
            Poll::Ready(frame) => {
                if let Some(Ok(frame)) = &frame {
                    this.bytes += frame.data_ref().map_or(0, |data| data.len() as u64);
                }
                this.timer = None;
                if !this.shared {
                    this.conn.awaits_body(0);
                }
                Poll::Ready(frame.map(|frame| frame.map_err(Into::into)))
            }
            Poll::Pending if this.shared => {
                let left = this.due().saturating_sub(this.conn.time());
                let timer = this.timer.get_or_insert_with(|| Box::pin(tokio::time::sleep(Duration::from_millis(left))));
                timer.as_mut().poll(cx).map(|()| Some(Err(TooSlow.into())))
            }
            Poll::Pending => {
                this.conn.awaits_body(this.due());
                Poll::Pending
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

impl Drop for Inbound {
    fn drop(&mut self) {
        if !self.shared {
            self.conn.awaits_body(0);
        }
    }
}

/// The body of an answer.
pub struct Outbound {
    body: Body,
    exchange: Exchange,
    /// Whether something was handed out that the peer may not have taken.
    owed: bool,
    /// The largest piece that is handed out at once, in bytes.
    piece_max: usize,
    /// What is left of a larger one.
    rest: Bytes,
}

/// HTTP/2 keeps what the peer's window does not let through and lets go of a body that has ended, so a peer with a window
/// of one byte looks like one that has everything. It waits for the window before it takes another piece, though: in
/// pieces of one frame, no more than the last of them is out of sight.
const H2_PIECE_BYTES_MAX: usize = 16 << 10;

impl Outbound {
    pub fn new(body: Body, exchange: Exchange, version: Version) -> Self {
        exchange.0.owes();
        let piece_max = if version == Version::HTTP_2 { H2_PIECE_BYTES_MAX } else { usize::MAX };
        Self { body, exchange, owed: true, piece_max, rest: Bytes::new() }
    }

    fn next(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        if self.rest.is_empty() {
            match ready!(Pin::new(&mut self.body).poll_frame(cx)) {
                Some(Ok(frame)) => match frame.into_data() {
                    Ok(data) if data.len() > self.piece_max => self.rest = data,
                    Ok(data) => return Poll::Ready(Some(Ok(Frame::data(data)))),
                    Err(frame) => return Poll::Ready(Some(Ok(frame))),
                },
                end => return Poll::Ready(end),
            }
        }
        let piece = self.rest.split_to(self.piece_max.min(self.rest.len()));
        Poll::Ready(Some(Ok(Frame::data(piece))))
    }
}

impl HttpBody for Outbound {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Self::Error>>> {
        let this = self.get_mut();
        let polled = this.next(cx);
        // Being asked for more means that what was there has been taken.
        match (polled.is_ready(), this.owed) {
            (true, true) => this.exchange.0.goes_on(),
            (true, false) => this.exchange.0.owes(),
            (false, true) => this.exchange.0.owes_no_more(),
            (false, false) => {}
        }
        this.owed = polled.is_ready();
        polled
    }

    fn is_end_stream(&self) -> bool {
        self.rest.is_empty() && self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        if self.rest.is_empty() { self.body.size_hint() } else { SizeHint::default() }
    }
}

impl Drop for Outbound {
    fn drop(&mut self) {
        if self.owed {
            self.exchange.0.owes_no_more();
        }
    }
}
