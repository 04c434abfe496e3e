//! The running server: opens what is on disk, starts the core's owner, accepts
//! connections, and stops in order.

use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{oneshot, watch};
use tokio::task::JoinHandle;
use wrun_net::{
    Connection, Credential, Identity, JoinToken, Listener, Peer, close_code, memory,
    signing_request,
};
use wrun_protocol::{Role, TenantName};
use wrun_store::Journal;
use wrun_store::disk::{Disk, RealDisk};

use crate::authorise::Access;
use crate::data_dir::DataDir;
use crate::driver::{Command, Parts, Run};
use crate::recovery::{self, Recovered};
use crate::requests::{self, create_token};
use crate::shared::Shared;
use crate::{ServerConfig, ServerError, join, remembered, session, workflows};

/// A running server. Dropping it stops it without waiting; [`Self::shutdown`] waits.
pub struct ServerHandle {
    shared: Arc<Shared>,
    listener: Arc<Listener>,
    advertised: String,
    warnings: Vec<String>,
    accepting: JoinHandle<()>,
    ended: watch::Receiver<Option<Result<(), Arc<ServerError>>>>,
}

/// Makes the data directory and the cluster's authority where there are none yet.
///
/// # Errors
/// The directory cannot be used, is in use, or holds an authority that cannot be read.
pub fn init(data_dir: &Path) -> Result<(), ServerError> {
    DataDir::open(data_dir)?.authority()?;
    Ok(())
}

/// Makes a user's credential from the authority in the data directory, without a running
/// server. `server` is the `HOST:PORT` that it will name.
///
/// # Errors
/// The authority cannot be read, or the certificate not be made.
pub fn credential(
    data_dir: &Path,
    server: &str,
    tenant: &TenantName,
    role: Role,
    ttl: Duration,
) -> Result<Credential, ServerError> {
    let authority = wrun_net::Authority::load(&data_dir.join("ca"))?;
    issue(&authority, server, tenant, role, ttl)
}

/// Recovers the cluster from the data directory and serves it. Must be called within a
/// tokio runtime.
///
/// # Errors
/// See [`ServerError`]: a setting, the data directory, the journal or the port.
pub async fn start(config: ServerConfig) -> Result<ServerHandle, ServerError> {
    start_on(config, Arc::new(RealDisk)).await
}

/// [`start`] with the journal on any disk: for tests of what happens when one fails.
///
/// # Errors
/// As [`start`].
pub async fn start_on(
    config: ServerConfig,
    disk: Arc<dyn Disk>,
) -> Result<ServerHandle, ServerError> {
    config.check()?;
    let opening = config.clone();
    let recovered = tokio::task::spawn_blocking(move || recovery::recover(opening, disk))
        .await
        .map_err(|_| ServerError::Journal("recovery failed".to_owned()))??;
    let Recovered { data_dir, shared, parts, steps, unlooked, journal, mut warnings } = recovered;
    let listener = listen(&config, &shared)?;
    let advertised = advertised(&config, listener.local_addr());
    let (said, ended) = watch::channel(None);
    let (closing, connections) = (Arc::clone(&listener), Arc::clone(&shared));
    let core = start_core(parts)
        .map_err(|error| ServerError::Journal(format!("no thread for the scheduler: {error}")))?;
    tokio::spawn(async move {
        let gone = |_| Err(ServerError::Journal("the scheduler's thread has failed".to_owned()));
        let result = core.await.unwrap_or_else(gone);
        if let Err(error) = &result {
            tracing::error!(%error, "the server stops");
        }
        answer_what_is_under_way(&connections).await;
        closing.close(close_code::GOING_AWAY, "the server stops; connect again later").await;
        connections.connections.end().await;
        let closed = close(&connections, journal).await;
        drop((connections, closing));
        // The next server may have the directory once all is on disk.
        drop(data_dir);
        said.send_replace(Some(result.and(closed).map_err(Arc::new)));
    });
    shared.connections.spawn(workflows::serve(Arc::clone(&shared), steps));
    shared.connections.spawn(remembered::serve(Arc::clone(&shared), unlooked));
    let accepting = tokio::spawn(accept(Arc::clone(&shared), Arc::clone(&listener)));
    let mut handle =
        ServerHandle { shared, listener, advertised, warnings: Vec::new(), accepting, ended };
    // Live work goes on already; whoever starts the server is to know what became of the past.
    match handle.shared.history.opened().await {
        Ok(opened) => warnings.extend(opened.warnings),
        Err(error) => {
            let reason = error.to_string();
            let _ = handle.shutdown().await;
            return Err(ServerError::History(reason));
        }
    }
    handle.warnings = warnings;
    Ok(handle)
}

/// Runs the owner of the core on a thread of its own: a long decision keeps no connection
/// from being served. What it ends with comes out of the channel.
fn start_core(parts: Parts) -> std::io::Result<oneshot::Receiver<Result<(), ServerError>>> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .thread_name("wrun-core-wait")
        .build()?;
    let (ended, core) = oneshot::channel();
    let run = move || {
        // Whoever started the server may be gone.
        let _ = ended.send(runtime.block_on(Run::new(parts).run()));
    };
    std::thread::Builder::new().name("wrun-core".to_owned()).spawn(run)?;
    Ok(core)
}

/// How long requests may take to tell their clients that they are done, or not.
const LAST_WORDS: Duration = Duration::from_secs(1);

/// Takes no more requests, and waits for those that the driver has just answered.
async fn answer_what_is_under_way(shared: &Shared) {
    let all = u32::try_from(shared.config.max_requests).unwrap_or(u32::MAX);
    // Whoever is still not done then loses the connection below.
    let _ = tokio::time::timeout(LAST_WORDS, shared.requests.acquire_many(all)).await;
    shared.requests.close();
}

/// Closes what is on disk once nothing uses it any more.
async fn close(shared: &Arc<Shared>, journal: Arc<Journal>) -> Result<(), ServerError> {
    let history = shared.history.now();
    let closing = tokio::task::spawn_blocking(move || {
        if let Some(Err(error)) = history.map(|history| history.flush()) {
            // What it lacks is read from the journal at the next start.
            tracing::warn!(%error, "the history could not be flushed");
        }
        journal.close()
    });
    match closing.await {
        Ok(closed) => closed.map_err(|error| ServerError::lost(&error)),
        Err(_) => Err(ServerError::JournalLost {
            reason: "it could not be closed".to_owned(),
            disk_full: false,
        }),
    }
}

fn listen(config: &ServerConfig, shared: &Shared) -> Result<Arc<Listener>, ServerError> {
    let mut names = vec!["localhost".to_owned()];
    if let Some(advertise) = &config.advertise
        && let Ok(address) = advertise.parse::<wrun_net::ServerAddress>()
    {
        names.push(address.host().to_owned());
    }
    let identity = shared.authority.issue_server(&names)?;
    let authority = shared.authority.certificate_der();
    let secret = shared.authority.listener_secret();
    Ok(Arc::new(Listener::bind_recognised(config.listen, &identity, authority, &secret)?))
}

fn advertised(config: &ServerConfig, local: SocketAddr) -> String {
    let reachable = if local.ip().is_unspecified() {
        SocketAddr::from((std::net::Ipv4Addr::LOCALHOST, local.port()))
    } else {
        local
    };
    config.advertise.clone().unwrap_or_else(|| reachable.to_string())
}

async fn accept(shared: Arc<Shared>, listener: Arc<Listener>) {
    while let Some(connection) = listener.accept().await {
        shared.connections.spawn(serve(Arc::clone(&shared), connection));
    }
}

/// Serves one connection for what its peer may use it for.
async fn serve(shared: Arc<Shared>, connection: Connection) {
    match Access::of(connection.peer()) {
        Access::User(caller) => requests::serve(shared, connection, caller).await,
        Access::Node(node) => session::serve(shared, connection, node).await,
        Access::Join => join::serve(shared, connection).await,
        Access::None => connection.close(close_code::DENIED, "a server is not a client"),
    }
}

fn issue(
    authority: &wrun_net::Authority,
    server: &str,
    tenant: &TenantName,
    role: Role,
    ttl: Duration,
) -> Result<Credential, ServerError> {
    let (key, csr) = signing_request()?;
    let certificate = authority.issue_user(tenant, role, &csr, ttl)?;
    let identity = Identity::new(vec![certificate], key)?;
    Ok(Credential {
        server: server.to_owned(),
        authority_pem: authority.certificate_pem(),
        certificate_pem: identity.certificates_pem(),
        key_pem: identity.key_pem(),
    })
}

impl ServerHandle {
    /// Where it listens (UDP).
    pub fn local_addr(&self) -> SocketAddr {
        self.listener.local_addr()
    }

    /// `HOST:PORT` for others: what tokens and credentials carry.
    pub fn advertised(&self) -> &str {
        &self.advertised
    }

    /// SHA-256 of the cluster authority's certificate.
    pub fn fingerprint(&self) -> [u8; 32] {
        self.shared.authority.fingerprint()
    }

    /// What the operator should be told: a journal's tail that was cut, a history that had to
    /// be set aside. Who starts the server tells it.
    pub fn warnings(&self) -> &[String] {
        &self.warnings
    }

    /// A one-time token to join with, durable when returned.
    ///
    /// # Errors
    /// Too many tokens are valid, or the server has stopped.
    pub async fn create_token(&self, ttl: Duration) -> Result<JoinToken, ServerError> {
        Ok(create_token(&self.shared, ttl).await?.0)
    }

    /// A new credential for a user.
    ///
    /// # Errors
    /// The key or certificate cannot be made.
    pub fn credential(
        &self,
        tenant: &TenantName,
        role: Role,
        ttl: Duration,
    ) -> Result<Credential, ServerError> {
        issue(&self.shared.authority, &self.advertised, tenant, role, ttl)
    }

    /// A connection to this server within the process, as if `peer` had connected: for
    /// tests and programs that embed a server.
    pub fn connect(&self, peer: Peer) -> Connection {
        let (client, server) = memory::pair(peer, Peer::Server);
        self.shared.connections.spawn(serve(Arc::clone(&self.shared), server));
        client
    }

    /// Stops: accepts nothing more, makes the journal durable, closes.
    ///
    /// # Errors
    /// The reason, if it had stopped by itself, or the journal could not be closed.
    pub async fn shutdown(self) -> Result<(), ServerError> {
        self.accepting.abort();
        // A driver that has ended already says why below.
        let _ = self.shared.driver.send(Command::Stop).await;
        let ended = self.end().await;
        // The history's file is free when its last user has gone: this handle.
        let _ = tokio::task::spawn_blocking(move || drop(self)).await;
        ended
    }

    /// Waits until the server stops by itself, and says why.
    pub async fn ended(&self) -> ServerError {
        match self.end().await {
            Ok(()) => ServerError::Stopped,
            Err(error) => error,
        }
    }

    async fn end(&self) -> Result<(), ServerError> {
        let mut ended = self.ended.clone();
        match ended.wait_for(Option::is_some).await {
            Ok(result) => Ok(result.clone().unwrap_or(Ok(()))?),
            Err(_) => Err(ServerError::Stopped),
        }
    }
}

impl std::fmt::Debug for ServerHandle {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ServerHandle").field("local_addr", &self.local_addr()).finish()
    }
}

impl Drop for ServerHandle {
    fn drop(&mut self) {
        self.accepting.abort();
        self.shared.driver.stop_soon();
    }
}
