//! What all statements of a gateway share: the store, the cache of its tables, and who the server says it is.

use std::sync::Arc;

use kvstore::request::Kv;

use wal::Budget;

use crate::catalog::Catalog;

/// Bytes that all statements of a gateway may hold in rows and values.
const MEMORY_BYTES_MAX: u64 = 256 << 20;

/// What the server says about itself to clients.
#[derive(Clone, Debug)]
pub struct ServerInfo {
    /// `server_version`, as clients parse it ("15.0 (SpinnakerDB 0.1.0)").
    pub server_version: String,
    /// `server_version_num` ("150000").
    pub server_version_num: String,
    /// What version() gives.
    pub version: String,
    /// The only database's name.
    pub database: String,
    /// The port of this gateway, if it has one (inet_server_port()).
    pub port: Option<u16>,
}

impl ServerInfo {
    /// The usual texts for a database of that name.
    pub fn new(database: &str) -> ServerInfo {
        let own = env!("CARGO_PKG_VERSION");
        ServerInfo {
            server_version: format!("15.0 (SpinnakerDB {own})"),
            server_version_num: "150000".into(),
            version: format!("PostgreSQL 15.0 (SpinnakerDB {own}) on {}", std::env::consts::ARCH),
            database: database.into(),
            port: None,
        }
    }
}

/// What all statements of a gateway share.
pub(crate) struct Context {
    /// The store.
    pub(crate) kv: Arc<dyn Kv>,
    /// Its tables as SQL sees them.
    pub(crate) catalog: Catalog,
    /// What the server says about itself.
    pub(crate) info: Arc<ServerInfo>,
    /// What all its statements may hold in rows and values.
    pub(crate) memory: Budget,
}

impl Context {
    /// A context over a store.
    pub(crate) fn new(kv: Arc<dyn Kv>, info: ServerInfo) -> Context {
        let memory = Budget::new("statements", MEMORY_BYTES_MAX);
        Context { catalog: Catalog::new(kv.clone()), kv, info: Arc::new(info), memory }
    }
}
