//! A gateway that listens on loopback, and clients that write what they like.

use std::net::SocketAddr;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::tests::env::Env;
use crate::{GatewayConfig, ListenConfig, Listening};
use wrun_protocol::wire::service::Endpoints;

/// Longest wait of a test for what must happen.
pub(super) const SOON: Duration = Duration::from_secs(20);

/// A gateway on a port of 127.0.0.1.
pub(super) struct Site {
    pub(super) env: Env,
    pub(super) listening: Listening,
}

impl Site {
    pub(super) async fn new(endpoints: Endpoints) -> Self {
        Self::with(endpoints, |_| {}).await
    }

    pub(super) async fn with(
        endpoints: Endpoints,
        change: impl FnOnce(&mut GatewayConfig),
    ) -> Self {
        let env = Env::with(endpoints, change);
        let addresses = vec!["127.0.0.1:0".parse().unwrap()];
        let listening = env.gateway.listen(ListenConfig { addresses, tls: None }).await.unwrap();
        Self { env, listening }
    }

    pub(super) fn address(&self) -> SocketAddr {
        self.listening.addresses()[0]
    }

    pub(super) async fn connect(&self) -> TcpStream {
        TcpStream::connect(self.address()).await.unwrap()
    }

    /// Sends bytes on a connection of its own, and reads all that comes until it is closed.
    pub(super) async fn send(&self, bytes: impl AsRef<[u8]>) -> String {
        let mut socket = self.connect().await;
        // The other side may close before all is sent.
        let _ = socket.write_all(bytes.as_ref()).await;
        read_all(&mut socket).await
    }

    /// The answer to a request that asks for the connection to be closed.
    pub(super) async fn get(&self, path: &str, more: &str) -> String {
        self.send(format!("GET {path} HTTP/1.1\r\nHost: a\r\n{more}Connection: close\r\n\r\n"))
            .await
    }

    /// Waits until the load is as given: requests under way, requests that wait.
    pub(super) async fn load_becomes(&self, wanted: (u32, u32)) {
        let reached = async {
            while self.env.load() != wanted {
                tokio::time::sleep(Duration::from_millis(2)).await;
            }
        };
        let last = tokio::time::timeout(SOON, reached).await;
        assert!(last.is_ok(), "wanted {wanted:?}, is {:?}", self.env.load());
    }
}

/// All that comes until the connection is closed, by whatever means.
pub(super) async fn read_all(socket: &mut TcpStream) -> String {
    let mut all = Vec::new();
    let read = async {
        let mut piece = [0; 4096];
        while let Ok(size @ 1..) = socket.read(&mut piece).await {
            all.extend_from_slice(&piece[..size]);
        }
    };
    tokio::time::timeout(SOON, read).await.expect("the connection stays open");
    String::from_utf8_lossy(&all).into_owned()
}

/// Reads until what came ends with the text.
pub(super) async fn read_until(socket: &mut TcpStream, end: &str) -> String {
    let mut all = String::new();
    let read = async {
        while !all.ends_with(end) {
            let mut byte = [0];
            match socket.read(&mut byte).await {
                Ok(1) => all.push(char::from(byte[0])),
                other => panic!("{other:?} after {all:?}"),
            }
        }
    };
    tokio::time::timeout(SOON, read).await.expect("it does not come");
    all
}
