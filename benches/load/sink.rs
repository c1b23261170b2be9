//! Places that what the gateway receives is passed on to: one that takes everything, and two that are dead.

use std::net::SocketAddr;

use anyhow::Result;
use clap::ValueEnum;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

/// Where what is received goes on to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Forward {
    /// Nowhere
    Off,
    /// To a server that takes everything
    Live,
    /// To a port nobody listens on, and to a server that never answers
    Dead,
}

impl Forward {
    /// Its name on the command line and in the table.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Off => "off",
            Self::Live => "live",
            Self::Dead => "dead",
        }
    }
}

/// The configuration's `exporters.forward` for `forward`. The servers run until the runtime ends.
pub async fn destinations(forward: Forward) -> Result<String> {
    Ok(match forward {
        Forward::Off => "{}".to_owned(),
        Forward::Live => format!("{{live: {{endpoint: 'http://{}', protocol: http}}}}", serve(true).await?),
        Forward::Dead => {
            let mute = serve(false).await?;
            // Bound and let go: nobody is there.
            let nobody = TcpListener::bind("127.0.0.1:0").await?.local_addr()?;
            format!("{{nobody: {{endpoint: 'http://{nobody}'}}, mute: {{endpoint: 'http://{mute}', timeout: 1s}}}}")
        }
    })
}

async fn serve(answers: bool) -> Result<SocketAddr> {
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let address = listener.local_addr()?;
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            tokio::spawn(connection(stream, answers));
        }
    });
    Ok(address)
}

/// As cheap as can be: what it uses of the machine the gateway lacks.
async fn connection(mut stream: TcpStream, answers: bool) -> std::io::Result<()> {
    let mut buffer = Vec::with_capacity(64 * 1024);
    loop {
        let Some(end) = buffer.windows(4).position(|w| w == b"\r\n\r\n") else {
            if stream.read_buf(&mut buffer).await? == 0 {
                return Ok(());
            }
            continue;
        };
        let head = String::from_utf8_lossy(&buffer[..end]).to_ascii_lowercase();
        let length = head.lines().find_map(|line| line.strip_prefix("content-length: ")?.parse().ok()).unwrap_or(0);
        let whole = end + 4 + length;
        while buffer.len() < whole {
            if stream.read_buf(&mut buffer).await? == 0 {
                return Ok(());
            }
        }
        buffer.drain(..whole);
        if answers {
            stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n").await?;
        }
    }
}
