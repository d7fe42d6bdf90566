//! Everything before the first query.
//!
//! [`open`] reads packets until it has a session or the connection is over. It is the only way to a session, so no
//! query can be dispatched before it: every error here is fatal and closes. Encryption is refused for now; bytes
//! that a client sent behind an encryption request would have been meant for the encrypted channel (or were put
//! there by someone in the middle) and end the connection.

use std::io;
use std::time::Duration;

use bytes::{Buf, Bytes};
use planner::{Session, SqlError, sqlstate};
use tokio::io::{AsyncRead, AsyncWrite};

use crate::backend::Backend;
use crate::message::check_utf8;
use crate::response::Severity;
use crate::server::Server;
use crate::wire::Wire;

/// Codes in the place of a protocol version.
const CANCEL_REQUEST: u32 = 80_877_102;
const SSL_REQUEST: u32 = 80_877_103;
const GSSENC_REQUEST: u32 = 80_877_104;
/// The newest minor version of protocol 3 that is spoken; 3.1 was never released.
const MINOR_MAX: u32 = 2;
/// A client that sends no startup packet for so long is disconnected.
pub(crate) const STARTUP_TIMEOUT: Duration = Duration::from_secs(60);
/// Databases that clients name by default. There is only one database, and these names stand for it, too.
const DATABASE_ALIASES: [&str; 1] = ["postgres"];
/// too_many_connections.
const TOO_MANY_CONNECTIONS: &str = "53300";
/// invalid_authorization_specification.
const INVALID_AUTHORIZATION: &str = "28000";

/// What a first packet is.
enum Packet {
    Encryption,
    Cancel { id: i32, secret: Bytes },
    Startup { minor: u32, parameters: Vec<(String, String)> },
}

/// Brings a connection to its session. `None`: it is over (a cancel request, an error, or the client left).
pub(crate) async fn open<S: AsyncRead + AsyncWrite + Unpin>(
    wire: &mut Wire<S>,
    server: &Server,
) -> io::Result<Option<Backend>> {
    match tokio::time::timeout(STARTUP_TIMEOUT, negotiate(wire, server)).await {
        Ok(Ok(Ok(opened))) => Ok(opened),
        Ok(Ok(Err(error))) => {
            wire.outbox.error(Severity::Fatal, &error);
            wire.close().await?;
            Ok(None)
        }
        Ok(Err(error)) => Err(error),
        Err(_) => Ok(None),
    }
}

/// Answers a connection's startup packet with an error, and closes. A cancel request gets no answer.
pub(crate) async fn refuse<S: AsyncRead + AsyncWrite + Unpin>(
    wire: &mut Wire<S>,
    error: &SqlError,
) -> io::Result<()> {
    let asked = async {
        match first_packet(wire).await? {
            Ok(None | Some(Packet::Encryption | Packet::Cancel { .. })) => Ok(()),
            Ok(Some(Packet::Startup { .. })) => {
                wire.outbox.error(Severity::Fatal, error);
                wire.close().await
            }
            Err(error) => {
                wire.outbox.error(Severity::Fatal, &error);
                wire.close().await
            }
        }
    };
    tokio::time::timeout(STARTUP_TIMEOUT, asked).await.unwrap_or(Ok(()))
}

async fn negotiate<S: AsyncRead + AsyncWrite + Unpin>(
    wire: &mut Wire<S>,
    server: &Server,
) -> io::Result<Result<Option<Backend>, SqlError>> {
    let (minor, parameters) = match first_packet(wire).await? {
        Ok(Some(Packet::Startup { minor, parameters })) => (minor, parameters),
        Ok(Some(Packet::Cancel { id, secret })) => {
            server.cancels.cancel(id, &secret);
            return Ok(Ok(None));
        }
        Ok(None | Some(Packet::Encryption)) => return Ok(Ok(None)),
        Err(error) => return Ok(Err(error)),
    };
    match session(wire, server, minor, parameters) {
        Ok(opened) => {
            wire.flush().await?;
            Ok(Ok(Some(opened)))
        }
        Err(error) => {
            wire.outbox.clear();
            Ok(Err(error))
        }
    }
}

/// The first packet that does not ask for encryption, which is refused; `None`: the client left, or speaks something else.
async fn first_packet<S: AsyncRead + AsyncWrite + Unpin>(
    wire: &mut Wire<S>,
) -> io::Result<Result<Option<Packet>, SqlError>> {
    // A client may ask for TLS and for GSS encryption, once each, before it settles for neither.
    for _ in 0..3 {
        let packet = match wire.read_startup().await? {
            Ok(packet) => packet,
            // Not our protocol (or TLS without asking): an answer would not be understood.
            Err(_) => return Ok(Ok(None)),
        };
        match decode(packet) {
            Ok(Packet::Encryption) if wire.has_buffered() => {
                return Ok(Err(violation("received unencrypted data after SSL request")
                    .detail("This could be a client bug or a man-in-the-middle attack.")));
            }
            Ok(Packet::Encryption) => {
                wire.outbox.refuse_encryption();
                wire.flush().await?;
            }
            Ok(packet) => return Ok(Ok(Some(packet))),
            Err(error) => return Ok(Err(error)),
        }
    }
    Ok(Err(violation("encryption was requested again after it was refused")))
}

/// Decodes a packet; `packet` begins behind its length and holds at least four bytes.
fn decode(mut packet: Bytes) -> Result<Packet, SqlError> {
    let code = packet.get_u32();
    match code {
        SSL_REQUEST | GSSENC_REQUEST => Ok(Packet::Encryption),
        CANCEL_REQUEST if packet.len() < 5 => Err(violation("invalid cancel request")),
        CANCEL_REQUEST => Ok(Packet::Cancel { id: packet.get_i32(), secret: packet }),
        version if version >> 16 != 3 => {
            let (major, minor) = (version >> 16, version & 0xffff);
            Err(SqlError::unsupported(format!("frontend protocol {major}.{minor}"))
                .detail(format!("The server supports 3.0 to 3.{MINOR_MAX}.")))
        }
        version => Ok(Packet::Startup { minor: version & 0xffff, parameters: parameters(&packet)? }),
    }
}

/// Pairs of zero-terminated strings, ended by an empty name.
fn parameters(packet: &[u8]) -> Result<Vec<(String, String)>, SqlError> {
    let malformed = || violation("invalid startup packet layout: expected terminator as last byte");
    let mut strings = packet.split(|byte| *byte == 0);
    let mut parameters = Vec::new();
    loop {
        let name = strings.next().ok_or_else(malformed)?;
        if name.is_empty() {
            // Behind the empty name nothing may follow its terminator.
            return match (strings.next(), strings.next()) {
                (Some([]), None) => Ok(parameters),
                _ => Err(malformed()),
            };
        }
        let value = strings.next().ok_or_else(malformed)?;
        parameters.push((check_utf8(name)?.to_string(), check_utf8(value)?.to_string()));
    }
}

/// Whether the gateway takes another session, however many there are.
fn admits(server: &Server) -> Result<(), SqlError> {
    if server.full {
        return Err(SqlError::new(TOO_MANY_CONNECTIONS, "too many open files: no more sessions for now")
            .hint(
                "Close other connections to this node, use another one, or raise its limit of open files.",
            ));
    }
    if server.closing.is_cancelled() {
        return Err(SqlError::new(sqlstate::UNAVAILABLE, "the database system is shutting down")
            .hint("Connect to another node."));
    }
    Ok(())
}

fn session<S: AsyncRead + AsyncWrite + Unpin>(
    wire: &mut Wire<S>,
    server: &Server,
    minor: u32,
    parameters: Vec<(String, String)>,
) -> Result<Backend, SqlError> {
    admits(server)?;
    let permit = server.permits.clone().try_acquire_owned().map_err(|_| {
        SqlError::new(TOO_MANY_CONNECTIONS, "sorry, too many clients already")
            .hint("Close other connections to this gateway, or use another one.")
    })?;
    let named =
        |wanted: &str| parameters.iter().find(|(name, _)| name == wanted).map(|(_, value)| value.as_str());
    let user = named("user").filter(|user| !user.is_empty()).ok_or_else(|| {
        SqlError::new(INVALID_AUTHORIZATION, "no PostgreSQL user name specified in startup packet")
    })?;
    let own = &server.planner.info().database;
    let database = named("database").filter(|name| !name.is_empty()).unwrap_or(own);
    // Without a database libpq names the user: that, too, means "the one that there is".
    if database != own && database != user && !DATABASE_ALIASES.contains(&database) {
        return Err(SqlError::new(
            sqlstate::INVALID_DATABASE,
            format!("database \"{database}\" does not exist"),
        )
        .hint(format!("The only database is \"{own}\".")));
    }
    if named("replication").is_some_and(|value| !matches!(value, "false" | "off" | "no" | "0")) {
        return Err(SqlError::unsupported("the replication protocol"));
    }

    // Protocol 3.2 allows longer secrets; with 3.0 they have exactly four bytes.
    let spoken = if minor >= MINOR_MAX { MINOR_MAX } else { 0 };
    let unknown: Vec<String> =
        parameters.iter().map(|(name, _)| name).filter(|name| name.starts_with("_pq_.")).cloned().collect();
    if minor != spoken || !unknown.is_empty() {
        wire.outbox.negotiate(spoken, unknown);
    }
    let registration = server.cancels.register(if spoken >= 2 { 32 } else { 4 })?;
    let session = Session::new(server.planner.info(), user, own, registration.id.unsigned_abs());
    for (name, value) in &parameters {
        match name.as_str() {
            "user" | "database" | "replication" => {}
            "options" => {
                for (name, value) in options(value)? {
                    session.set_startup(&name, &value)?;
                }
            }
            name if name.starts_with("_pq_.") => {}
            name => session.set_startup(name, value)?,
        }
    }

    wire.outbox.authenticated();
    for (name, value) in session.reported_parameters() {
        wire.outbox.parameter(name, &value);
    }
    wire.outbox.key_data(registration.id, &registration.secret);
    for notice in session.take_notices() {
        wire.outbox.notice(&notice);
    }
    wire.outbox.ready(session.transaction_status());
    Ok(Backend::new(server.planner.clone(), session, registration, permit))
}

/// Settings in the `options` parameter: `-c name=value`, `-cname=value` and `--name=value`; a backslash keeps the
/// character behind it.
fn options(text: &str) -> Result<Vec<(String, String)>, SqlError> {
    let mut words: Vec<String> = Vec::new();
    let mut inside = false;
    let mut chars = text.chars();
    while let Some(char) = chars.next() {
        if char.is_whitespace() {
            inside = false;
            continue;
        }
        if !std::mem::replace(&mut inside, true) {
            words.push(String::new());
        }
        let char = if char == '\\' { chars.next().unwrap_or('\\') } else { char };
        if let Some(word) = words.last_mut() {
            word.push(char);
        }
    }
    let mut settings = Vec::new();
    let mut words = words.into_iter();
    while let Some(word) = words.next() {
        let setting = match word.strip_prefix("--").or_else(|| word.strip_prefix("-c")) {
            Some("") => words.next(),
            Some(setting) => Some(setting.to_string()),
            None => None,
        };
        let pair = setting.as_deref().and_then(|setting| setting.split_once('='));
        let (name, value) = pair.ok_or_else(|| {
            SqlError::new(
                sqlstate::SYNTAX,
                format!("invalid command-line argument for server process: {word}"),
            )
            .hint("Use -c name=value.")
        })?;
        settings.push((name.replace('-', "_"), value.to_string()));
    }
    Ok(settings)
}

fn violation(message: &str) -> SqlError {
    SqlError::new(sqlstate::PROTOCOL_VIOLATION, message)
}

#[cfg(test)]
mod tests {
    use super::*;

    proptest::proptest! {
        #[test]
        fn no_packet_makes_the_decoder_panic(
            code in proptest::prelude::prop_oneof![
                proptest::prelude::Just(3 << 16), proptest::prelude::Just(CANCEL_REQUEST), proptest::prelude::any::<u32>()
            ],
            rest in proptest::collection::vec(0..4u8, 0..40),
        ) {
            let packet = [&code.to_be_bytes()[..], &rest].concat();
            let _ = decode(packet.into());
        }
    }

    fn pairs(pairs: &[(&str, &str)]) -> Vec<(String, String)> {
        pairs.iter().map(|(name, value)| (name.to_string(), value.to_string())).collect()
    }

    #[test]
    fn options_are_read_in_all_their_spellings() {
        let given =
            r"-c consistency=timeline -cmax_staleness=5s  --statement-timeout=9 -c application_name=a\ b";
        let expected = [
            ("consistency", "timeline"),
            ("max_staleness", "5s"),
            ("statement_timeout", "9"),
            ("application_name", "a b"),
        ];
        assert_eq!(options(given).unwrap(), pairs(&expected));
        for wrong in ["-d 5", "-c", "-c name", "--name"] {
            assert_eq!(options(wrong).unwrap_err().sqlstate, "42601", "{wrong}");
        }
    }

    #[test]
    fn parameters_end_exactly_once() {
        assert_eq!(parameters(b"user\0root\0\0").unwrap(), pairs(&[("user", "root")]));
        assert_eq!(parameters(b"user\0\0\0").unwrap(), pairs(&[("user", "")]));
        for wrong in [&b""[..], b"user", b"user\0", b"user\0root", b"user\0root\0", b"user\0root\0\0x\0"] {
            assert!(parameters(wrong).is_err(), "{wrong:?}");
        }
        assert_eq!(parameters(b"user\0\xff\0\0").unwrap_err().sqlstate, "22021");
    }
}
