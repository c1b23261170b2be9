//! The answer's body: made piece by piece, never faster than it is read, never all at once in memory.

use std::io::{self, Write};
use std::time::Duration;

use axum::body::Body;
use bytes::Bytes;
use flate2::Compression;
use flate2::write::GzEncoder;
use futures_util::stream;
use tokio::sync::{OwnedSemaphorePermit, mpsc};
use tracing::debug;

use super::fleet::FleetText;
use super::text::Format;

/// Size of a piece, in bytes.
const CHUNK_BYTES: usize = 128 * 1024;
/// A scraper that reads nothing for this long is given up, so that it does not keep the rows alive.
const STUCK_AFTER: Duration = Duration::from_secs(30);

/// A whole answer, being written.
pub struct Page {
    format: Format,
    /// Text that is ready; written first.
    head: Vec<u8>,
    fleet: Option<FleetText>,
    ended: bool,
}

impl Page {
    /// An answer of `head` (whole families) and then the fleet.
    pub fn new(format: Format, head: Vec<u8>, fleet: Option<FleetText>) -> Self {
        Self { format, head, fleet, ended: false }
    }

    /// The next piece; `None` at the end.
    pub fn next_chunk(&mut self) -> Option<Vec<u8>> {
        if self.ended {
            return None;
        }
        let mut out = std::mem::take(&mut self.head);
        let more = match &mut self.fleet {
            Some(fleet) => {
                // Room for one row more than the piece is long, so that it does not grow at its very end.
                out.reserve(CHUNK_BYTES + 4096);
                fleet.fill(&mut out, CHUNK_BYTES)
            }
            None => false,
        };
        if !more {
            out.extend_from_slice(self.format.end());
            self.ended = true;
        }
        Some(out)
    }
}

/// The same, compressed. Level 1: higher levels cost several times the writing of the text itself.
pub struct GzipPage {
    page: Page,
    encoder: Option<GzEncoder<Vec<u8>>>,
}

impl GzipPage {
    /// `page`, compressed.
    pub fn new(page: Page) -> Self {
        Self { page, encoder: Some(GzEncoder::new(Vec::new(), Compression::fast())) }
    }

    /// The next piece; `None` at the end.
    pub fn next_chunk(&mut self) -> io::Result<Option<Vec<u8>>> {
        let Some(encoder) = &mut self.encoder else { return Ok(None) };
        while let Some(chunk) = self.page.next_chunk() {
            encoder.write_all(&chunk)?;
            if encoder.get_ref().len() >= CHUNK_BYTES / 2 {
                return Ok(Some(std::mem::take(encoder.get_mut())));
            }
        }
        self.encoder.take().map(GzEncoder::finish).transpose()
    }
}

enum Part {
    Chunk(Bytes),
    End,
}

/// The body of an answer. `permit` is given back when the body was sent or given up.
pub fn body(page: Page, gzip: bool, permit: OwnedSemaphorePermit) -> Body {
    // One piece waits while one is being sent. The writer is a task of its own because a body is only asked for more
    // while its reader reads: nothing else would notice a reader that has stopped.
    let (sender, receiver) = mpsc::channel(1);
    tokio::spawn(async move {
        let _permit = permit;
        if gzip {
            let mut page = GzipPage::new(page);
            write(sender, move || page.next_chunk()).await;
        } else {
            let mut page = page;
            write(sender, move || Ok(page.next_chunk())).await;
        }
    });
    Body::from_stream(stream::unfold(Some(receiver), |receiver: Option<mpsc::Receiver<Part>>| async move {
        let mut receiver = receiver?;
        match receiver.recv().await {
            Some(Part::Chunk(bytes)) => Some((Ok(bytes), Some(receiver))),
            Some(Part::End) => None,
            // Not a clean end: a cut text must not look like a whole one.
            None => Some((Err(io::Error::other("the metrics could not be written to their end")), None)),
        }
    }))
}

async fn write(sender: mpsc::Sender<Part>, mut next: impl FnMut() -> io::Result<Option<Vec<u8>>>) {
    loop {
        // A piece is made only once there is room for it.
        let Ok(Ok(slot)) = tokio::time::timeout(STUCK_AFTER, sender.reserve()).await else {
            debug!("a scraper went away or stopped reading");
            return;
        };
        match next() {
            Ok(Some(chunk)) => slot.send(Part::Chunk(chunk.into())),
            Ok(None) => return slot.send(Part::End),
            Err(error) => return debug!(%error, "could not compress metrics"),
        }
    }
}
