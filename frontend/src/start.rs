//! `spinnaker start`: one node of a cluster, with its PostgreSQL gateway.

use std::sync::Arc;

use kvstore::command_line::{Failure, Signals, leave, say, start_node, until_stopped};
use kvstore::config::{Resolved, StartArgs};

use crate::listener::{DATABASE, Gateway, GatewayOptions, PG_PORT, listen};
use crate::waiting::Waiting;

/// Sessions that a gateway may be allowed.
const CONNECTIONS_MAX: usize = 100_000;
/// Keys of the file that are read here and not by the store.
const OWN_KEYS: [&str; 2] = ["pg_listen", "pg_connections_max"];

/// Flags of `start`.
#[derive(Debug, clap::Args)]
pub(crate) struct StartCommand {
    #[command(flatten)]
    node: StartArgs,
    /// Address of the PostgreSQL listener, HOST:PORT
    #[arg(long, env = "SPINNAKER_PG_LISTEN")]
    pg_listen: Option<String>,
    /// Sessions at a time on the PostgreSQL listener
    #[arg(long, env = "SPINNAKER_PG_CONNECTIONS_MAX")]
    pg_connections_max: Option<usize>,
}

/// The flags that belong to SQL, resolved.
#[derive(Debug)]
struct PgConfig {
    listen: String,
    options: GatewayOptions,
}

impl Default for PgConfig {
    fn default() -> PgConfig {
        PgConfig { listen: format!("127.0.0.1:{PG_PORT}"), options: GatewayOptions::default() }
    }
}

impl PgConfig {
    /// Flags over the keys of the file over defaults.
    fn resolve(
        listen: Option<String>,
        connections_max: Option<usize>,
        file: &toml::Table,
    ) -> Result<PgConfig, Failure> {
        let mut config = PgConfig::default();
        match (listen, file.get("pg_listen")) {
            (Some(address), _) => config.listen = address,
            (None, Some(toml::Value::String(address))) => config.listen.clone_from(address),
            (None, Some(_)) => return Err(Failure::usage("pg_listen in the --config file: not a text")),
            (None, None) => {}
        }
        let in_file =
            |number: &toml::Value| number.as_integer().and_then(|number| usize::try_from(number).ok());
        let connections_max = match (connections_max, file.get("pg_connections_max")) {
            (Some(number), _) => number,
            (None, Some(number)) => in_file(number).unwrap_or(0),
            (None, None) => config.options.connections_max,
        };
        if !(1..=CONNECTIONS_MAX).contains(&connections_max) {
            return Err(Failure::usage(format!(
                "--pg-connections-max must be between 1 and {CONNECTIONS_MAX}"
            )));
        }
        config.options.connections_max = connections_max;
        Ok(config)
    }
}

impl StartCommand {
    /// Names and defaults of the flags that are not the store's, as the help text gives them.
    pub(crate) fn defaults() -> Vec<(&'static str, String)> {
        let PgConfig { listen, options } = PgConfig::default();
        vec![("pg_listen", listen), ("pg_connections_max", options.connections_max.to_string())]
    }
}

/// Runs a node until it is asked to stop.
pub(crate) async fn start(command: StartCommand) -> Result<(), Failure> {
    let mut signals = Signals::new()?;
    let StartCommand { node, pg_listen, pg_connections_max } = command;
    let check_config = node.check_config;
    let mut resolved = node.resolve(&OWN_KEYS).map_err(Failure::usage)?;
    let pg = PgConfig::resolve(pg_listen, pg_connections_max, &resolved.extra)?;
    if check_config {
        resolved.node.pg_address = Some(pg.listen);
        say(&resolved);
        say(format_args!("pg_connections_max: {}", pg.options.connections_max));
        return Ok(());
    }

    // The cheap checks come first: nothing is touched when the port is taken.
    let listener = listen("--pg-listen", &pg.listen).await?;
    let address = listener.local_addr().map_err(Failure::run)?;
    let Resolved { mut node, zookeeper, .. } = resolved;
    node.pg_address = Some(address.to_string());
    let id = node.node.0;
    let (starting, connections_max) = (Arc::default(), pg.options.connections_max);
    let waiting = Waiting::open(&listener, &starting).map_err(Failure::run)?;
    let Some(node) = start_node(node, &zookeeper, connections_max, &starting, &mut signals).await? else {
        return Ok(());
    };
    waiting.close().await;
    let mut gateway = Gateway::open(listener, node.kv(), pg.options).map_err(Failure::run)?;
    say(format_args!("node {id}  postgres://root@{address}/{DATABASE}"));

    let ended = tokio::select! {
        ended = until_stopped(id, &node, &mut signals) => ended,
        reason = gateway.failed() => Err(Failure::run(format!("node {id} cannot go on: {reason}"))),
    };
    if let Err(failure) = ended {
        gateway.kill().await;
        node.kill();
        return Err(failure);
    }
    // Leaderships move while statements run on, here and at other gateways. Then the sessions end, whose last statements
    // still need the node.
    let leaving = async {
        gateway.refuse_sessions();
        node.hand_over().await;
        gateway.shutdown().await;
        node.shutdown().await;
    };
    leave(leaving, &mut signals).await
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn flags_win_over_the_file_and_the_file_over_defaults() {
        let file: toml::Table = "pg_listen = '127.0.0.1:1'\npg_connections_max = 7".parse().unwrap();
        let resolved = |listen, connections_max, file| {
            let config = PgConfig::resolve(listen, connections_max, file).unwrap();
            (config.listen, config.options.connections_max)
        };
        assert_eq!(resolved(Some("b:2".into()), Some(9), &file), ("b:2".into(), 9));
        assert_eq!(resolved(None, None, &file), ("127.0.0.1:1".into(), 7));
        assert_eq!(resolved(None, None, &toml::Table::new()), ("127.0.0.1:5433".into(), 1000));
        for wrong in ["pg_listen = 1", "pg_connections_max = 0", "pg_connections_max = 'many'"] {
            assert!(PgConfig::resolve(None, None, &wrong.parse().unwrap()).is_err(), "{wrong}");
        }
    }
}
