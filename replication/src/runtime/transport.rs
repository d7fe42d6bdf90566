//! How connections between nodes are set up: waiting times, windows, and pings that find a peer that is gone.
//!
//! One setting for all of them, whatever they carry: a stream that is limited by its window would make the slowest peer
//! slower still, and a dead connection must be found as fast everywhere.

use std::time::Duration;

use tonic::transport::{Channel, Endpoint, Server};

/// Longest wait for a TCP connection.
pub(crate) const CONNECT_TIMEOUT: Duration = Duration::from_secs(1);
/// A ping goes out when the connection was silent for this long.
const KEEPALIVE_INTERVAL: Duration = Duration::from_secs(1);
/// No answer to a ping for this long: the connection is dead.
const KEEPALIVE_TIMEOUT: Duration = Duration::from_secs(2);
/// HTTP/2 window of a stream, in bytes: more than one bandwidth-delay product of a fast LAN.
const STREAM_WINDOW_BYTES: u32 = 4 << 20;
/// HTTP/2 window of a connection, in bytes: several of its streams may be busy at once.
const CONNECTION_WINDOW_BYTES: u32 = 16 << 20;

/// How a connection says that it carries replication: as the largest header list (an HTTP/2 setting) that its client
/// takes. So the listener can tell it from a client's before anything is read of it.
pub const PEER_MARK: u32 = 0x5350_494e;

/// Connects to another node at `host:port`. The error is one line that says what the system said.
pub async fn dial(address: &str) -> Result<Channel, String> {
    connect(endpoint(address)?).await
}

/// The same for replication: served there on the threads that no statement holds up.
pub async fn dial_peer(address: &str) -> Result<Channel, String> {
    connect(endpoint(address)?.http2_max_header_list_size(PEER_MARK)).await
}

fn endpoint(address: &str) -> Result<Endpoint, String> {
    let endpoint = Endpoint::from_shared(format!("http://{address}"))
        .map_err(|error| format!("not a HOST:PORT ({error})"))?;
    Ok(endpoint
        .connect_timeout(CONNECT_TIMEOUT)
        .tcp_nodelay(true)
        .http2_keep_alive_interval(KEEPALIVE_INTERVAL)
        .keep_alive_timeout(KEEPALIVE_TIMEOUT)
        .keep_alive_while_idle(true)
        .initial_stream_window_size(STREAM_WINDOW_BYTES)
        .initial_connection_window_size(CONNECTION_WINDOW_BYTES))
}

async fn connect(endpoint: Endpoint) -> Result<Channel, String> {
    // The error's own text is just "transport error"; what it wraps says more.
    endpoint
        .connect()
        .await
        .map_err(|error| std::error::Error::source(&error).map_or(error.to_string(), ToString::to_string))
}

/// Sets the same on a server that other nodes dial.
pub fn tuned(server: Server) -> Server {
    server
        .tcp_nodelay(true)
        .initial_stream_window_size(STREAM_WINDOW_BYTES)
        .initial_connection_window_size(CONNECTION_WINDOW_BYTES)
        .http2_keepalive_interval(Some(KEEPALIVE_INTERVAL))
        .http2_keepalive_timeout(Some(KEEPALIVE_TIMEOUT))
}
