//! The ports on which the node's gateway takes HTTP.

use std::time::Duration;

use futures_util::future::join_all;
use wrun_gateway::{Gateway, ListenConfig, ListenError, Listening};
use wrun_protocol::wire::service::GatewayAddresses;

use crate::HttpConfig;

/// See the module. Dropping it closes them.
#[derive(Default)]
pub(crate) struct Entrance {
    http: Option<Listening>,
    https: Option<Listening>,
}

impl Entrance {
    /// Listens as configured.
    pub(crate) async fn open(gateway: &Gateway, config: &HttpConfig) -> Result<Self, ListenError> {
        let mut entrance = Self::default();
        if !config.http.is_empty() {
            let plain = ListenConfig { addresses: config.http.clone(), tls: None };
            entrance.http = Some(gateway.listen(plain).await?);
        }
        if !config.https.is_empty() {
            let tls = config.tls.clone();
            let encrypted = ListenConfig { addresses: config.https.clone(), tls };
            entrance.https = Some(gateway.listen(encrypted).await?);
        }
        Ok(entrance)
    }

    /// Where it listens.
    pub(crate) fn addresses(&self) -> GatewayAddresses {
        let of = |listening: &Option<Listening>| {
            listening.as_ref().map_or_else(Vec::new, |listening| listening.addresses().to_vec())
        };
        GatewayAddresses { http: of(&self.http), https: of(&self.https) }
    }

    /// Takes no more connections, and waits for the requests under way, at most that long.
    pub(crate) async fn drain(self, grace: Duration) {
        join_all(self.http.into_iter().chain(self.https).map(|it| it.drain(grace))).await;
    }
}
