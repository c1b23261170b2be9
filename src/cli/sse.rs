//! Server-sent events as a client reads them, line by line.
//!
//! Source: <https://html.spec.whatwg.org/multipage/server-sent-events.html#event-stream-interpretation>.

/// The longest line that is read, in bytes: an event with evidence is far shorter.
const LINE_BYTES_MAX: usize = 1 << 20;

/// One event.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Event {
    /// Its number, where it has one.
    pub id: Option<String>,
    /// Its kind.
    pub kind: String,
    /// What it tells.
    pub data: String,
}

/// Turns pieces of a stream into events.
#[derive(Default)]
pub struct Reader {
    line: Vec<u8>,
    event: Event,
}

impl Reader {
    /// Takes in a piece and gives the events that ended in it.
    pub fn push(&mut self, piece: &[u8]) -> Vec<Event> {
        let mut events = Vec::new();
        for byte in piece {
            if *byte != b'\n' {
                if self.line.len() < LINE_BYTES_MAX {
                    self.line.push(*byte);
                }
                continue;
            }
            let line = String::from_utf8_lossy(&std::mem::take(&mut self.line)).into_owned();
            events.extend(self.line(line.trim_end_matches('\r')));
        }
        events
    }

    fn line(&mut self, line: &str) -> Option<Event> {
        if line.is_empty() {
            let event = std::mem::take(&mut self.event);
            return (!event.data.is_empty()).then_some(event);
        }
        let (name, value) = line.split_once(':').unwrap_or((line, ""));
        let value = value.strip_prefix(' ').unwrap_or(value);
        match name {
            "id" => self.event.id = Some(value.to_owned()),
            "event" => value.clone_into(&mut self.event.kind),
            "data" => {
                if !self.event.data.is_empty() {
                    self.event.data.push('\n');
                }
                self.event.data.push_str(value);
            }
            _ => {}
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn events_come_out_whole_however_the_stream_is_cut() {
        let stream = "retry: 2000\n: connected\n\nid: 7\nevent: transition\r\ndata: {\"a\":\ndata:1}\n\n: keep-alive\n\nevent: end\ndata: x\n\n";
        let seven = Event { id: Some("7".into()), kind: "transition".into(), data: "{\"a\":\n1}".into() };
        let end = Event { id: None, kind: "end".into(), data: "x".into() };
        for size in [1, 2, 5, stream.len()] {
            let mut reader = Reader::default();
            let events: Vec<Event> = stream.as_bytes().chunks(size).flat_map(|piece| reader.push(piece)).collect();
            assert_eq!(events, [seven.clone(), end.clone()], "{size}");
        }
    }
}
