//! What a set of links is given: where to bind, how long to wait, how much to hold.
//!
//! Rule: every limit is here, with the source of its number.
//!
//! It reads no file and no flag: the agent's configuration does, and fills this in.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket};
use std::time::Duration;

/// A STUN or TURN server, as the origin names it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct IceServer {
    /// `stun:host:port` or `turn:host:port`.
    pub urls: Vec<String>,
    /// For TURN.
    pub username: String,
    /// For TURN.
    pub credential: String,
}

/// What [`Links`](super::Links) keeps to.
#[derive(Clone, Debug)]
pub struct LinkConfig {
    /// This machine's address on the route to the origin, from [`local_address_towards`].
    ///
    /// On loopback the links bind to it alone; anything else binds every interface, because the
    /// best way to a neighbour need not be the way to the origin.
    pub local_address: IpAddr,
    /// Servers that tell a peer its public address, or relay for it. May be empty.
    pub ice_servers: Vec<IceServer>,
    /// How long an opening link may take. Failing pairs take 5–15 s to fail by themselves.
    pub open_timeout: Duration,
    /// How long candidates of [`ice_servers`](Self::ice_servers) are waited for before the
    /// description goes out without them; they follow one by one.
    pub gather_timeout: Duration,
    /// Silence after which a link counts as in trouble: three lost keep-alives.
    pub silence_max: Duration,
    /// Further silence after which it is closed.
    pub silence_fatal: Duration,
    /// Most links at a time, opening ones included. A link costs 0.2–1 MB: 32 is the budget of a
    /// native peer in the tracker's plan, and a few more are allowed while old ones are replaced.
    pub links_max: usize,
    /// Most bytes that one link accepts beyond what SCTP holds: four full messages. The engine
    /// keeps a backlog of about two chunks over all links, so this only bounds a bug.
    pub queue_bytes_max: usize,
    /// Most messages in that queue; small ones would otherwise fill it without reaching the bytes.
    pub queue_messages_max: usize,
    /// Most bytes that SCTP holds per link, sent and unacknowledged ones included: the product of
    /// 100 Mbit/s and 80 ms.
    pub in_flight_bytes_max: usize,
    /// Most events that wait for the owner, over all links. Past it receivers stop reading, SCTP's
    /// window closes and the senders wait.
    pub events_max: usize,
    /// Most signals kept of peers that no link was opened to yet: introductions race with offers.
    pub early_signals_max: usize,
}

impl LinkConfig {
    /// The defaults, for an agent that reaches its origin from `local_address`.
    #[must_use]
    pub fn new(local_address: IpAddr) -> Self {
        Self {
            local_address,
            ice_servers: Vec::new(),
            open_timeout: Duration::from_secs(15),
            gather_timeout: Duration::from_millis(300),
            silence_max: Duration::from_secs(3),
            silence_fatal: Duration::from_secs(2),
            links_max: 40,
            queue_bytes_max: 256 * 1024,
            queue_messages_max: 256,
            in_flight_bytes_max: 1024 * 1024,
            events_max: 64,
            early_signals_max: 64,
        }
    }

    /// Where a link's sockets bind. Port 0: one ephemeral port per link and interface.
    pub(crate) fn bind_addresses(&self) -> Vec<SocketAddr> {
        if self.local_address.is_loopback() {
            return vec![SocketAddr::new(self.local_address, 0)];
        }
        let v4 = SocketAddr::new(Ipv4Addr::UNSPECIFIED.into(), 0);
        match self.local_address {
            IpAddr::V4(_) => vec![v4],
            IpAddr::V6(_) => vec![v4, SocketAddr::new(Ipv6Addr::UNSPECIFIED.into(), 0)],
        }
    }
}

/// The address of this machine that packets to `origin` leave from.
///
/// Nothing is sent: connecting a UDP socket only looks up the route.
///
/// # Errors
/// When there is no route to `origin`, or no socket to be had.
pub fn local_address_towards(origin: SocketAddr) -> io::Result<IpAddr> {
    let any: IpAddr = match origin {
        SocketAddr::V4(_) => Ipv4Addr::UNSPECIFIED.into(),
        SocketAddr::V6(_) => Ipv6Addr::UNSPECIFIED.into(),
    };
    let socket = UdpSocket::bind((any, 0))?;
    socket.connect(origin)?;
    Ok(socket.local_addr()?.ip())
}
