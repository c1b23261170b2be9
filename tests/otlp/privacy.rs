//! What people wrote and models answered is never kept: neither in the data directory nor in the log, however talkative.

use std::fs;
use std::io::Write;
use std::path::Path;
use std::sync::{Arc, Mutex};

use crate::capture::Capture;
use crate::gateway::{self, Gateway};

/// Pieces of prompts, of arguments, of what tools gave back and of answers, as they stand in many captures.
const SECRETS: [&str; 6] =
    ["concise support agent", "What is the weather", "where is order", "A-1001", "Paris", "Oslo"];

/// A log that can be read back.
#[derive(Clone, Default)]
struct Log(Arc<Mutex<Vec<u8>>>);

impl Write for Log {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }
    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

fn found(bytes: &[u8]) -> Vec<&'static str> {
    let is_in = |secret: &&str| bytes.windows(secret.len()).any(|window| window == secret.as_bytes());
    SECRETS.iter().copied().filter(is_in).collect()
}

fn files(folder: &Path, take: &mut impl FnMut(&Path)) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() { files(&path, take) } else { take(&path) }
    }
}

#[test]
fn prompts_arguments_and_answers_are_never_kept() {
    let log = Log::default();
    let writer = log.clone();
    let subscriber = tracing_subscriber::fmt()
        .with_env_filter("trace,h2=info,hyper=info,hyper_util=info,reqwest=info")
        .with_ansi(false)
        .with_writer(move || writer.clone())
        .finish();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let mut wrong = Vec::new();
    tracing::subscriber::with_default(subscriber, || {
        runtime.block_on(async {
            let client = gateway::client();
            let gateway = Gateway::start(&client).await;
            let mut sent = Vec::new();
            for capture in Capture::all() {
                for (path, content_type, body) in capture.exports() {
                    sent.extend(found(&body));
                    gateway.send(path, content_type, body).await;
                }
            }
            for secret in SECRETS {
                assert!(sent.iter().filter(|s| **s == secret).count() > 10, "{secret} is hardly in the captures");
            }
            assert!(!gateway.agents().await.is_empty());
            let directory = gateway.stop().await;
            let mut seen = 0;
            files(directory.path(), &mut |path| {
                seen += 1;
                wrong.extend(found(&fs::read(path).unwrap()).into_iter().map(|s| format!("{s} in {}", path.display())));
            });
            assert!(seen > 1, "there is a database to look into");
        });
    });
    let log = log.0.lock().unwrap();
    assert!(!log.is_empty(), "the log was kept");
    wrong.extend(found(&log).into_iter().map(|s| format!("{s} in the log")));
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}
