//! The UDP socket under an endpoint, and how large its packets may be.

use std::io;
use std::net::{SocketAddr, UdpSocket};
use std::sync::Arc;

use quinn::congestion::CubicConfig;
use quinn::{EndpointConfig, MtuDiscoveryConfig, TransportConfig};
use socket2::SockRef;

/// Payload of the largest packet that is sent or taken. What a path carries is found out by
/// probes, of which one that is lost costs nothing else (RFC 8899): 1,452 bytes on Ethernet,
/// this where it has jumbo frames. What a body costs is nearly all by packet. quinn hands up
/// to ten packets to the system at once, which takes 65,507 bytes and drops all where there
/// are more: ten of these fit.
pub(crate) const PAYLOAD: u16 = 6500;

/// What the system keeps of packets that this side is too busy to take, each way. Above what
/// bursts of many streams bring: a packet that finds it full is lost, and a request whose last
/// packet is lost waits for a timeout. A system allows what `net.core.rmem_max` says.
const BUFFER: usize = 4 << 20;

/// A socket at that address.
pub(crate) fn bind(address: SocketAddr) -> io::Result<UdpSocket> {
    let socket = UdpSocket::bind(address)?;
    let options = SockRef::from(&socket);
    // One with less is slower under load, and works.
    let _ = options.set_recv_buffer_size(BUFFER);
    let _ = options.set_send_buffer_size(BUFFER);
    Ok(socket)
}

/// Takes packets of up to [`PAYLOAD`].
pub(crate) fn take_large(mut config: EndpointConfig) -> EndpointConfig {
    // The setting refuses less than the 1,200 of RFC 9000 alone.
    let _ = config.max_udp_payload_size(PAYLOAD);
    config
}

/// Looks for packets of up to [`PAYLOAD`], and begins with ten of them on their way: in a
/// network of machines a body of 64 kB needs no second turn. With the 14,720 bytes of RFC 9002
/// two would fill the window, and quinn sends no close where it is full.
pub(crate) fn send_large(config: &mut TransportConfig) {
    let mut discovery = MtuDiscoveryConfig::default();
    discovery.upper_bound(PAYLOAD);
    let mut congestion = CubicConfig::default();
    congestion.initial_window(10 * u64::from(PAYLOAD));
    config
        .mtu_discovery_config(Some(discovery))
        .congestion_controller_factory(Arc::new(congestion));
}
