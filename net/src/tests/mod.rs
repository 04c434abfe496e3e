//! Real connections over the loopback interface, on ports chosen by the system. What
//! streams promise is tested over QUIC and in memory alike.

mod admission;
mod identities;
mod nodes;
mod reaching;
mod streams;

use std::net::{Ipv4Addr, SocketAddr};
use std::time::Duration;

use wrun_protocol::{NodeId, Role};

use crate::{Authority, Connection, Identity, Limits, Listener, Peer, connect, signing_request};

const HOUR: Duration = Duration::from_secs(3600);

fn user() -> Peer {
    Peer::User { tenant: "lab".parse().unwrap(), role: Role::User }
}

fn loopback() -> SocketAddr {
    (Ipv4Addr::LOCALHOST, 0).into()
}

/// An authority, and a listener of its server.
struct Cluster {
    authority: Authority,
    listener: Listener,
}

impl Cluster {
    fn start() -> Self {
        Self::start_with(Limits::default())
    }

    fn start_with(limits: Limits) -> Self {
        let authority = Authority::create().unwrap();
        let identity = authority.issue_server(&[]).unwrap();
        let listener =
            Listener::bind_with(loopback(), &identity, authority.certificate_der(), limits)
                .unwrap();
        Self { authority, listener }
    }

    fn address(&self) -> String {
        self.listener.local_addr().to_string()
    }

    fn user(&self) -> Identity {
        user_of(&self.authority)
    }

    fn node(&self, number: u64) -> Identity {
        let (key, csr) = signing_request().unwrap();
        let der = self.authority.issue_node(NodeId(number), &csr, HOUR).unwrap();
        Identity::new(vec![der], key).unwrap()
    }

    /// The user's end and the server's.
    async fn connect(&self) -> (Connection, Connection) {
        let (user, address) = (self.user(), self.address());
        let connecting = connect(&address, &user, self.authority.certificate_der());
        let (near, far) = tokio::join!(connecting, self.listener.accept());
        (near.unwrap(), far.unwrap())
    }

    /// Shows that it still serves.
    async fn serves(&self) {
        let (near, far) = self.connect().await;
        let (mut send, _recv) = near.open().await.unwrap();
        send.send(&7_u32).await.unwrap();
        let (_, mut recv) = far.accept().await.unwrap();
        assert_eq!(recv.recv::<u32>().await.unwrap(), Some(7));
    }
}

fn user_of(authority: &Authority) -> Identity {
    let (key, csr) = signing_request().unwrap();
    let der = authority.issue_user(&"lab".parse().unwrap(), Role::User, &csr, HOUR).unwrap();
    Identity::new(vec![der], key).unwrap()
}
