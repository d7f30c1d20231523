//! What address translation does to this machine: one public address for all others, or another
//! for each (RFC 4787, 4.1).
//!
//! Rule: two STUN servers of one host are asked from one socket (RFC 5780, 4.3): the ways to two
//! hosts may differ, and what they show with them. It ends in time; what it cannot tell is unknown.
//! An address that depends on the host alone, and not on the port, looks as if it were one for all.

use super::config::IceServer;
use rtc::stun::message::{
    BINDING_REQUEST, BINDING_SUCCESS, Getter, Message, TransactionId, is_stun_message,
};
use rtc::stun::xoraddr::XorMappedAddress;
use shoal_wire::tracker_message::Mapping;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::Duration;
use tokio::net::{UdpSocket, lookup_host};
use tokio::time::{interval, timeout};

/// Most servers that are looked at; an operator has two, and some of others.
const SERVERS_MAX: usize = 8;
/// A lost request or answer is repeated after this time (RFC 8489, 6.2.1 has 500 ms).
const REPEAT_AFTER: Duration = Duration::from_millis(500);
/// Who has not answered by then does not: names included.
const PATIENCE: Duration = Duration::from_secs(3);
/// Port of STUN where a URL has none (RFC 7064).
const DEFAULT_PORT: u16 = 3478;
/// Longest answer that is read: those of servers have 32 to 100 bytes.
const ANSWER_BYTES_MAX: usize = 548;

/// Asks the first two of `servers` that are ports of one host.
pub(crate) async fn mapping(servers: &[IceServer]) -> Mapping {
    match timeout(PATIENCE, seen_by_two(servers)).await {
        Ok(Some([one, two])) if one == two => Mapping::Stable,
        Ok(Some(_)) => Mapping::Symmetric,
        Ok(None) | Err(_) => Mapping::Unknown,
    }
}

/// From which address each of two servers was asked.
async fn seen_by_two(servers: &[IceServer]) -> Option<[SocketAddr; 2]> {
    let asked = pair(&addresses(servers).await)?;
    let any = match asked[0] {
        SocketAddr::V4(_) => SocketAddr::from((Ipv4Addr::UNSPECIFIED, 0)),
        SocketAddr::V6(_) => SocketAddr::from((Ipv6Addr::UNSPECIFIED, 0)),
    };
    let socket = UdpSocket::bind(any).await.ok()?;
    let ids = [random_id(), random_id()];
    let mut seen = [None; 2];
    let mut repeat = interval(REPEAT_AFTER);
    let mut buffer = [0; ANSWER_BYTES_MAX];
    loop {
        tokio::select! {
            _ = repeat.tick() => {
                for at in (0..2).filter(|&at| seen[at].is_none()) {
                    // What is not sent now is repeated.
                    let _ = socket.send_to(&request(ids[at])?, asked[at]).await;
                }
            }
            received = socket.recv_from(&mut buffer) => {
                let (len, _) = received.ok()?;
                let Some((id, address)) = read(&buffer[..len]) else { continue };
                if let Some(at) = ids.iter().position(|asked| *asked == id) {
                    seen[at] = Some(address);
                }
            }
        }
        if let [Some(one), Some(two)] = seen {
            return Some([one, two]);
        }
    }
}

/// Where the STUN servers are, those first that are reached over IPv4: it is what is translated.
async fn addresses(servers: &[IceServer]) -> Vec<SocketAddr> {
    let urls = servers.iter().flat_map(|server| &server.urls);
    let mut all = Vec::new();
    for (host, port) in urls.filter_map(|url| host_and_port(url)).take(SERVERS_MAX) {
        // One that has no address now is one less.
        all.extend(lookup_host((host, port)).await.into_iter().flatten());
    }
    all.sort_by_key(SocketAddr::is_ipv6);
    all
}

/// Two ports of one host.
fn pair(addresses: &[SocketAddr]) -> Option<[SocketAddr; 2]> {
    addresses.iter().enumerate().find_map(|(at, one)| {
        let others = &addresses[at + 1..];
        let two = others.iter().find(|two| two.ip() == one.ip() && two.port() != one.port())?;
        Some([*one, *two])
    })
}

/// Reads `stun:HOST[:PORT]`.
fn host_and_port(url: &str) -> Option<(&str, u16)> {
    let authority = url.strip_prefix("stun:")?;
    let (host, port) = match authority.rsplit_once(':') {
        Some((host, port)) if !host.contains(':') || host.ends_with(']') => {
            (host, port.parse().ok()?)
        }
        Some(_) | None => (authority, DEFAULT_PORT),
    };
    let host = host.trim_start_matches('[').trim_end_matches(']');
    (!host.is_empty()).then_some((host, port))
}

fn random_id() -> TransactionId {
    let mut id = [0; 12];
    getrandom::fill(&mut id).expect("the system has randomness");
    TransactionId(id)
}

fn request(id: TransactionId) -> Option<Vec<u8>> {
    let mut message = Message::new();
    message.build(&[Box::new(id), Box::new(BINDING_REQUEST)]).ok()?;
    Some(message.raw)
}

/// Which request a message answers, and from where it was asked.
fn read(bytes: &[u8]) -> Option<(TransactionId, SocketAddr)> {
    if !is_stun_message(bytes) {
        return None;
    }
    let mut message = Message::new();
    message.unmarshal_binary(bytes).ok()?;
    if message.typ != BINDING_SUCCESS {
        return None;
    }
    let mut mapped = XorMappedAddress::default();
    mapped.get_from(&message).ok()?;
    Some((message.transaction_id, SocketAddr::new(mapped.ip, mapped.port)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(urls: &[String]) -> Vec<IceServer> {
        let server = |url: &String| IceServer {
            urls: vec![url.clone()],
            username: String::new(),
            credential: String::new(),
        };
        urls.iter().map(server).collect()
    }

    /// A server that says that it was asked from `port`, and loses the first request.
    async fn server(port: u16) -> String {
        let socket = UdpSocket::bind("127.0.0.1:0").await.unwrap();
        let url = format!("stun:{}", socket.local_addr().unwrap());
        tokio::spawn(async move {
            let mut buffer = [0; 100];
            socket.recv_from(&mut buffer).await.unwrap();
            let (len, from) = socket.recv_from(&mut buffer).await.unwrap();
            let mut asked = Message::new();
            asked.unmarshal_binary(&buffer[..len]).unwrap();
            let mapped = XorMappedAddress { ip: [192, 0, 2, 1].into(), port };
            let mut answer = Message::new();
            let id = asked.transaction_id;
            answer.build(&[Box::new(id), Box::new(BINDING_SUCCESS), Box::new(mapped)]).unwrap();
            socket.send_to(&answer.raw, from).await.unwrap();
        });
        url
    }

    #[tokio::test]
    async fn two_answers_tell() {
        for (ports, expected) in [([7, 7], Mapping::Stable), ([7, 8], Mapping::Symmetric)] {
            let urls = [server(ports[0]).await, "turn:t.example".into(), server(ports[1]).await];
            assert_eq!(mapping(&of(&urls)).await, expected, "{ports:?}");
        }
    }

    #[tokio::test]
    async fn anything_less_is_unknown() {
        let silent = UdpSocket::bind("127.0.0.1:0").await.unwrap();
        let silent = format!("stun:{}", silent.local_addr().unwrap());
        for urls in [vec![], vec![server(7).await], vec![server(7).await, silent]] {
            assert_eq!(mapping(&of(&urls)).await, Mapping::Unknown, "{urls:?}");
        }
    }

    #[test]
    fn urls_of_stun_servers_are_read() {
        for (url, expected) in [
            ("stun:a.example:3479", Some(("a.example", 3479))),
            ("stun:a.example", Some(("a.example", 3478))),
            ("stun:[2001:db8::1]:19302", Some(("2001:db8::1", 19302))),
            ("stun:[2001:db8::1]", Some(("2001:db8::1", 3478))),
            ("stun:", None),
            ("stuns:a.example:5349", None),
            ("turn:a.example:3478?transport=udp", None),
        ] {
            assert_eq!(host_and_port(url), expected, "{url}");
        }
    }

    #[test]
    fn both_are_of_one_host() {
        let all = |texts: &[&str]| texts.iter().map(|it| it.parse().unwrap()).collect::<Vec<_>>();
        let found = pair(&all(&["192.0.2.1:1", "192.0.2.2:2", "192.0.2.1:3"])).unwrap();
        assert_eq!(found.to_vec(), all(&["192.0.2.1:1", "192.0.2.1:3"]));
        assert_eq!(pair(&all(&["192.0.2.1:1", "192.0.2.2:1", "192.0.2.1:1"])), None);
    }
}
