//! How this machine becomes a node, once: with a token it asks for a certificate, and
//! keeps it, so that a restart needs no token.

use std::fs::Permissions;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::time::Duration;

use wrun_net::{Connection, Identity, JoinToken, Peer, PrivateKey, close_code, signing_request};
use wrun_protocol::NodeId;
use wrun_protocol::wire::join::{JoinReply, JoinRequest};

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
    let joined = tokio::time::timeout(ANSWER, async {
        let refused = |problem: String| refused(config, problem);
        let connection = wrun_net::connect_to_join(&config.server, token.fingerprint)
            .await
            .map_err(|error| refused(error.to_string()))?;
        ask(&connection, token, &config.name).await.map_err(refused)
    });
    let membership =
        joined.await.map_err(|_| refused(config, "the server does not answer".to_owned()))??;
    save(&membership, &dir)?;
    tracing::info!(node = %membership.node, "joined the cluster");
    Ok(membership)
}

fn refused(config: &WorkerConfig, problem: String) -> WorkerError {
    WorkerError::Join { server: config.server.clone(), problem }
}

/// Asks for a certificate for a key that never leaves this machine.
pub(crate) async fn ask(
    connection: &Connection,
    token: &JoinToken,
    name: &str,
) -> Result<Membership, String> {
    let (key, csr) = signing_request().map_err(|error| error.to_string())?;
    let (mut send, mut recv) = connection.open().await.map_err(|error| error.to_string())?;
    let request = JoinRequest::Node { secret: token.secret, csr, name: name.to_owned() };
    send.send(&request).await.map_err(|error| error.to_string())?;
    // The answer tells whether it arrived.
    let _ = send.finish();
    let reply = recv.recv().await.map_err(|error| error.to_string())?;
    connection.close(close_code::DONE, "joined");
    match reply {
        Some(JoinReply::Welcome { node, certificate, authority }) => {
            accepted(node, certificate, key, authority)
        }
        Some(JoinReply::Refused(error)) => Err(error.to_string()),
        None => Err("the server ended the conversation without an answer".to_owned()),
    }
}

fn accepted(
    node: NodeId,
    certificate: Vec<u8>,
    key: PrivateKey,
    authority: Vec<u8>,
) -> Result<Membership, String> {
    let identity = Identity::new(vec![certificate], key).map_err(|error| error.to_string())?;
    match identity.peer() {
        Ok(Peer::Node(named)) if named == node => Ok(Membership { node, identity, authority }),
        _ => Err("the certificate that the server gave is not this node's".to_owned()),
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
