//! `/health`, `/ready` and `/metrics` over HTTP/1.1, small enough to need no framework: one request per connection.

use std::sync::Arc;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

use crate::accept::{ACCEPT_PAUSE, AcceptLog};

/// A request line and its headers must fit.
const REQUEST_BYTES_MAX: usize = 8 << 10;
/// And come in this time.
const REQUEST_TIME_MAX: Duration = Duration::from_secs(5);

/// The type of a page for people.
const PLAIN: &str = "text/plain; charset=utf-8";

/// What is served.
pub(crate) trait Pages: Send + Sync + 'static {
    /// A line about the process, which lives.
    fn health(&self) -> String;
    /// Why clients should be sent to other nodes, in one line; `None` if this one serves them.
    fn not_ready(&self) -> Option<String>;
    /// What clients of a node that is ready should know, in one line.
    fn caution(&self) -> Option<String>;
    /// Prometheus' text.
    fn metrics(&self) -> String;
}

/// Serves until the task is aborted.
pub(crate) async fn serve(listener: TcpListener, pages: Arc<dyn Pages>) {
    let mut log = AcceptLog::new("HTTP");
    loop {
        match listener.accept().await {
            Ok((stream, _)) => {
                // Without a place it is closed at once.
                let Some(place) = log.accepted() else { continue };
                let pages = pages.clone();
                tokio::spawn(async move {
                    // Who asks slowly, or goes away, gets nothing: neither is worth a word.
                    let _ = tokio::time::timeout(REQUEST_TIME_MAX, answer(stream, &*pages)).await;
                    drop(place);
                });
            }
            Err(error) => {
                log.failed(&error);
                tokio::time::sleep(ACCEPT_PAUSE).await;
            }
        }
    }
}

async fn answer(mut stream: TcpStream, pages: &dyn Pages) -> std::io::Result<()> {
    let mut request = Vec::new();
    while !request.windows(4).any(|end| end == b"\r\n\r\n") {
        if request.len() > REQUEST_BYTES_MAX || stream.read_buf(&mut request).await? == 0 {
            return Ok(());
        }
    }
    let line = request.split(|byte| *byte == b'\r').next().unwrap_or_default();
    let (status, kind, body) = match line {
        line if line.starts_with(b"GET /metrics ") => {
            ("200 OK", "text/plain; version=0.0.4; charset=utf-8", pages.metrics())
        }
        line if line.starts_with(b"GET /health ") => ("200 OK", PLAIN, pages.health() + "\n"),
        line if line.starts_with(b"GET /ready ") => match pages.not_ready() {
            None => match pages.caution() {
                None => ("200 OK", PLAIN, "ready\n".to_owned()),
                Some(caution) => ("200 OK", PLAIN, format!("ready, but {caution}\n")),
            },
            Some(reason) => ("503 Service Unavailable", PLAIN, reason + "\n"),
        },
        line if line.starts_with(b"GET ") => {
            ("404 Not Found", PLAIN, "there are /health, /ready and /metrics\n".to_owned())
        }
        _ => ("405 Method Not Allowed", PLAIN, "only GET\n".to_owned()),
    };
    let head = format!(
        "HTTP/1.1 {status}\r\ncontent-type: {kind}\r\ncontent-length: {}\r\nconnection: close\r\n\r\n",
        body.len()
    );
    stream.write_all(head.as_bytes()).await?;
    stream.write_all(body.as_bytes()).await?;
    stream.shutdown().await
}
