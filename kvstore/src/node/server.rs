//! The gRPC servers: public service, gateway streams, health and reflection; and the peers' streams, on threads of their
//! own. Both are behind one port.

use std::sync::Arc;

use replication::runtime::{Runtime, tuned};
use tonic::transport::Server;

use super::listener::Incoming;
use crate::cluster::peers::Peers;
use crate::gateway::Gateway;
use crate::proto::gateway::gateway_server::GatewayServer;
use crate::proto::v1::kv_server::KvServer;
use crate::proto::{DESCRIPTORS, MESSAGE_BYTES_MAX};
use crate::ranges::Ranges;
use crate::reporter::Reporter;
use crate::rpc::peer_service::GatewayService;
use crate::rpc::service::PublicService;

/// What the services answer from.
pub(super) struct Services {
    pub(super) gateway: Arc<Gateway>,
    pub(super) reporter: Arc<Reporter>,
    pub(super) ranges: Arc<Ranges>,
    pub(super) peers: Arc<Peers>,
    pub(super) runtime: Runtime,
}

/// Serves peers until the connections end.
pub(super) async fn serve_peers(incoming: Incoming, runtime: Runtime) {
    let server = tuned(Server::builder()).add_service(runtime.service());
    if let Err(error) = server.serve_with_incoming(incoming).await {
        tracing::error!(%error, "the gRPC listener for peers ended");
    }
}

/// Serves clients until the connections end. A peer of an earlier version comes here, too: it does not say what it is.
pub(super) async fn serve_clients(incoming: Incoming, services: Services) {
    let Services { gateway, reporter, ranges, peers, runtime } = services;
    let (health, health_service) = tonic_health::server::health_reporter();
    health.set_serving::<KvServer<PublicService>>().await;
    let descriptors = || {
        tonic_reflection::server::Builder::configure()
            .register_encoded_file_descriptor_set(DESCRIPTORS)
            .register_encoded_file_descriptor_set(tonic_health::pb::FILE_DESCRIPTOR_SET)
    };
    // Clients ask for either version: Python's library speaks the older one alone.
    let reflection = descriptors().build_v1().and_then(|v1| Ok((v1, descriptors().build_v1alpha()?)));
    let public = KvServer::new(PublicService::new(gateway, reporter))
        .max_decoding_message_size(MESSAGE_BYTES_MAX)
        .max_encoding_message_size(MESSAGE_BYTES_MAX);
    let peers = GatewayServer::new(GatewayService::new(ranges, peers))
        .max_decoding_message_size(MESSAGE_BYTES_MAX)
        .max_encoding_message_size(MESSAGE_BYTES_MAX);
    let services = tuned(Server::builder())
        .add_service(public)
        .add_service(peers)
        .add_service(runtime.service())
        .add_service(health_service);
    let services = match reflection {
        Ok((v1, v1alpha)) => services.add_service(v1).add_service(v1alpha),
        Err(error) => {
            tracing::error!(%error, "no reflection: the descriptors do not parse");
            services
        }
    };
    if let Err(error) = services.serve_with_incoming(incoming).await {
        tracing::error!(%error, "the gRPC listener ended");
    }
}
