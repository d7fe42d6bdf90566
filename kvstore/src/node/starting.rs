//! What a node answers at its ports before it serves: that it starts, and what it waits for.
//!
//! `/health` says that the process lives, `/ready` says 503 with the reason, and every gRPC call of a client ends as
//! unavailable with the same reason. Peers are turned away: they dial again until the node serves.

use std::convert::Infallible;
use std::future::{Ready, ready};
use std::marker::PhantomData;
use std::os::fd::AsFd;
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll};

use replication::runtime::tuned;
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio::task::JoinSet;
use tonic::Status;
use tonic::body::Body;
use tonic::codegen::{Service, http};
use tonic::server::NamedService;
use tonic::transport::Server;
use tonic_health::pb::health_server::HealthServer;
use tonic_health::server::HealthService;
use wal::sync::lock;

use super::http::{self as pages, Pages};
use super::listener::{self, Incoming};
use crate::metrics;
use crate::proto::gateway::gateway_server::GatewayServer;
use crate::proto::v1::kv_server::KvServer;
use crate::rpc::peer_service::GatewayService;
use crate::rpc::service::PublicService;

/// What a start waits for, for those who ask meanwhile.
#[derive(Debug)]
pub struct Starting(Mutex<String>);

impl Default for Starting {
    fn default() -> Starting {
        Starting(Mutex::new("starting: the data directory is being opened".to_owned()))
    }
}

impl Starting {
    /// What the start waits for, in one line.
    pub fn reason(&self) -> String {
        lock(&self.0).clone()
    }

    /// Says so from now on.
    pub(super) fn wait_for(&self, what: impl Into<String>) {
        *lock(&self.0) = what.into();
    }
}

/// Answers at the node's ports until it is closed or dropped.
pub(super) struct Waiting {
    tasks: JoinSet<()>,
    /// With it the connections go.
    _killed: watch::Sender<bool>,
}

impl Waiting {
    /// Answers from now on. Connections that are made after its end come out of the listeners themselves.
    pub(super) fn open(
        grpc: &TcpListener,
        http: Option<&TcpListener>,
        starting: &Arc<Starting>,
    ) -> std::io::Result<Waiting> {
        let killed = watch::Sender::new(false);
        let mut tasks = JoinSet::new();
        let (routes, clients, _peers) = listener::routes(&killed.subscribe());
        tasks.spawn(listener::accept(shared(grpc)?, killed.subscribe(), routes));
        tasks.spawn(refuse(clients, starting.clone()));
        if let Some(http) = http {
            tasks.spawn(pages::serve(shared(http)?, Arc::new(StartingPages(starting.clone()))));
        }
        Ok(Waiting { tasks, _killed: killed })
    }

    /// Ends it: nobody else is accepted, and the connections are closed.
    pub(super) async fn close(mut self) {
        self.tasks.shutdown().await;
    }
}

/// The same listener once more.
fn shared(listener: &TcpListener) -> std::io::Result<TcpListener> {
    let listener = std::net::TcpListener::from(listener.as_fd().try_clone_to_owned()?);
    listener.set_nonblocking(true)?;
    TcpListener::from_std(listener)
}

/// Answers every call as unavailable.
async fn refuse(clients: Incoming, starting: Arc<Starting>) {
    let server = tuned(Server::builder())
        .add_service(NotYet::<KvServer<PublicService>>::new(&starting))
        .add_service(NotYet::<GatewayServer<GatewayService>>::new(&starting))
        .add_service(NotYet::<HealthServer<HealthService>>::new(&starting));
    if let Err(error) = server.serve_with_incoming(clients).await {
        tracing::error!(%error, "the gRPC listener ended");
    }
}

/// Stands for the service `S` that is not there yet.
struct NotYet<S> {
    starting: Arc<Starting>,
    service: PhantomData<fn() -> S>,
}

impl<S> NotYet<S> {
    fn new(starting: &Arc<Starting>) -> NotYet<S> {
        NotYet { starting: starting.clone(), service: PhantomData }
    }
}

impl<S> Clone for NotYet<S> {
    fn clone(&self) -> NotYet<S> {
        NotYet::new(&self.starting)
    }
}

impl<S: NamedService> NamedService for NotYet<S> {
    const NAME: &'static str = S::NAME;
}

impl<S> Service<http::Request<Body>> for NotYet<S> {
    type Response = http::Response<Body>;
    type Error = Infallible;
    type Future = Ready<Result<http::Response<Body>, Infallible>>;

    fn poll_ready(&mut self, _context: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, _request: http::Request<Body>) -> Self::Future {
        let why = format!("{}; nothing was done; retry, or use another node", self.starting.reason());
        ready(Ok(Status::unavailable(why).into_http()))
    }
}

struct StartingPages(Arc<Starting>);

impl Pages for StartingPages {
    fn health(&self) -> String {
        self.0.reason()
    }

    fn not_ready(&self) -> Option<String> {
        Some(self.0.reason())
    }

    fn caution(&self) -> Option<String> {
        None
    }

    fn metrics(&self) -> String {
        let mut out = String::new();
        metrics::joined(&mut out, false);
        out
    }
}
