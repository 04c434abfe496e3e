//! How this machine becomes a node, once: with a token it asks for a certificate, and
//! keeps it, so that a restart needs no token.

use std::fs::{File, Permissions};
use std::io::Write;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use wrun_net::{Connection, Identity, JoinToken, Peer, PrivateKey, close_code, signing_request};
use wrun_protocol::NodeId;
use wrun_protocol::wire::join::{JoinReply, JoinRequest};
use wrun_protocol::wire::user::RequestError;

use crate::data_dir::DataDir;
use crate::{WorkerConfig, WorkerError};

/// The certificate of the cluster's authority, beside the node's own files.
const AUTHORITY: &str = "authority.der";

/// How long the server may take to answer.
const ANSWER: Duration = Duration::from_secs(10);

/// Who this node is.
#[derive(Clone)]
pub(crate) struct Membership {
    pub(crate) node: NodeId,
    pub(crate) identity: Identity,
    pub(crate) authority: Vec<u8>,
}

/// The membership in the data directory, or a new one.
pub(crate) async fn membership(
    config: &WorkerConfig,
    data: &DataDir,
) -> Result<Membership, WorkerError> {
    let dir = data.identity();
    // Written last, so that it is there only if the rest is.
    if dir.join("certificate.pem").exists() {
        return load(&dir);
    }
    let Some(token) = &config.join else {
        return Err(WorkerError::NoIdentity { path: data.root().to_owned() });
    };
    let room = Room::take(&dir)?;
    let joined = tokio::time::timeout(ANSWER, async {
        let connection = wrun_net::connect_to_join(&config.server, token.fingerprint).await?;
        ask(&connection, token, &config.name).await.map_err(|error| match error {
            AskError::Refused(refusal) => {
                WorkerError::Refused { server: config.server.clone(), refusal }
            }
            AskError::Failed(problem) => broke_off(config, problem),
        })
    });
    let membership =
        joined.await.map_err(|_| broke_off(config, "the server does not answer".to_owned()))??;
    drop(room);
    save(&membership, &dir)?;
    tracing::info!(node = %membership.node, "joined the cluster");
    Ok(membership)
}

fn broke_off(config: &WorkerConfig, problem: String) -> WorkerError {
    WorkerError::Join { server: config.server.clone(), problem }
}

/// Space on the disk for the identity, taken before the token is used up: a token that is
/// spent and a certificate that cannot be kept would leave a node that never comes.
struct Room(PathBuf);

impl Room {
    /// Far above what the identity needs.
    const BYTES: usize = 64 << 10;

    fn take(dir: &Path) -> Result<Self, WorkerError> {
        let room = Self(dir.join("room"));
        let written = File::create(&room.0).and_then(|mut file| {
            file.write_all(&vec![0; Self::BYTES])?;
            file.sync_all()
        });
        match written {
            Ok(()) => Ok(room),
            Err(source) => Err(WorkerError::DataDir { path: dir.to_owned(), source }),
        }
    }
}

impl Drop for Room {
    fn drop(&mut self) {
        // A remnant is overwritten by the next attempt to join.
        let _ = std::fs::remove_file(&self.0);
    }
}

/// Why there is no certificate.
#[derive(Debug)]
pub(crate) enum AskError {
    /// The server said no.
    Refused(RequestError),
    /// Its answer did not come, or cannot be used.
    Failed(String),
}

impl AskError {
    fn failed(error: impl ToString) -> Self {
        Self::Failed(error.to_string())
    }
}

/// Asks for a certificate for a key that never leaves this machine.
pub(crate) async fn ask(
    connection: &Connection,
    token: &JoinToken,
    name: &str,
) -> Result<Membership, AskError> {
    let (key, csr) = signing_request().map_err(AskError::failed)?;
    let (mut send, mut recv) = connection.open().await.map_err(AskError::failed)?;
    let request = JoinRequest::Node { secret: token.secret, csr, name: name.to_owned() };
    send.send(&request).await.map_err(AskError::failed)?;
    // The answer tells whether it arrived.
    let _ = send.finish();
    let reply = recv.recv().await.map_err(AskError::failed)?;
    connection.close(close_code::DONE, "joined");
    match reply {
        Some(JoinReply::Welcome { node, certificate, authority }) => {
            accepted(node, certificate, key, authority)
        }
        Some(JoinReply::Refused(error)) => Err(AskError::Refused(error)),
        None => Err(AskError::failed("the server ended the conversation without an answer")),
    }
}

fn accepted(
    node: NodeId,
    certificate: Vec<u8>,
    key: PrivateKey,
    authority: Vec<u8>,
) -> Result<Membership, AskError> {
    let identity = Identity::new(vec![certificate], key).map_err(AskError::failed)?;
    match identity.peer() {
        Ok(Peer::Node(named)) if named == node => Ok(Membership { node, identity, authority }),
        _ => Err(AskError::failed("the certificate that the server gave is not this node's")),
    }
}

fn load(dir: &Path) -> Result<Membership, WorkerError> {
    let unusable =
        |path: &Path, problem: String| WorkerError::Identity { path: path.to_owned(), problem };
    let identity = Identity::load(dir).map_err(|error| unusable(dir, error.to_string()))?;
    let node = match identity.peer() {
        Ok(Peer::Node(node)) => node,
        Ok(_) => return Err(unusable(dir, "its certificate is not a node's".to_owned())),
        Err(error) => return Err(unusable(dir, error.to_string())),
    };
    identity
        .check(std::time::SystemTime::now())
        .map_err(|error| unusable(dir, error.to_string()))?;
    let path = dir.join(AUTHORITY);
    let authority = std::fs::read(&path).map_err(|error| unusable(&path, error.to_string()))?;
    Ok(Membership { node, identity, authority })
}

fn save(membership: &Membership, dir: &Path) -> Result<(), WorkerError> {
    let path = dir.join(AUTHORITY);
    std::fs::write(&path, &membership.authority)
        .and_then(|()| std::fs::set_permissions(&path, Permissions::from_mode(0o600)))
        .map_err(|source| WorkerError::DataDir { path, source })?;
    membership
        .identity
        .save(dir)
        .map_err(|error| WorkerError::Identity { path: dir.to_owned(), problem: error.to_string() })
}
