//! Scans of clients as streams of pages: read no faster than the client takes them, ended when it leaves, and when it
//! takes nothing for too long.

use std::pin::Pin;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use futures::stream::{self, Stream, StreamExt};
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::Status;
use wal::sync::lock;

use crate::error::KvError;
use crate::gateway::Gateway;
use crate::proto::{errors, public, v1};
use crate::request::{Kv, ReadOptions, Scan, ScanBatch};

/// A stream of which the client takes nothing for so long is ended.
const IDLE_MAX: Duration = Duration::from_secs(60);

/// The pages of a scan.
pub(super) type Pages = Pin<Box<dyn Stream<Item = Result<v1::ScanResponse, Status>> + Send>>;

/// Runs a scan. The next page is asked for when the client has taken the one before.
pub(super) fn stream(gateway: Arc<Gateway>, scan: Scan, options: ReadOptions) -> Pages {
    let (sink, pages) = mpsc::channel(1);
    let ended = Arc::new(Mutex::new(None));
    let why = ended.clone();
    tokio::spawn(async move {
        // Dropped when the client has gone, whatever it waits for, and with it what it has open.
        tokio::select! {
            () = sink.closed() => {}
            end = run(&gateway, scan, &options, &sink) => *lock(&why) = end.err(),
        }
    });
    // The guard goes with the page into the stream: it counts until the page is taken.
    let pages = ReceiverStream::new(pages).map(|page: ScanBatch| Ok(response(page)));
    let end = stream::once(async move { lock(&ended).take() });
    pages.chain(end.filter_map(async |error| error.map(|error| Err(errors::from_error(&error))))).boxed()
}

async fn run(
    gateway: &Gateway,
    scan: Scan,
    options: &ReadOptions,
    sink: &mpsc::Sender<ScanBatch>,
) -> Result<(), KvError> {
    let mut found = gateway.scan(scan, options, None);
    loop {
        let place = tokio::time::timeout(IDLE_MAX, sink.reserve()).await.map_err(|_| {
            KvError::ReadTooOld(format!("the client took nothing of the scan for {} s", IDLE_MAX.as_secs()))
        })?;
        let (Ok(place), Some(page)) = (place, found.next().await) else { return Ok(()) };
        place.send(page?);
    }
}

fn response(page: ScanBatch) -> v1::ScanResponse {
    v1::ScanResponse {
        rows: page.rows.into_iter().map(public::row).collect(),
        source: Some(public::source(page.source)),
    }
}
