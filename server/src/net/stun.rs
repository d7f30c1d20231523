//! A small STUN server (RFC 8489): tells whoever asks from which address and port it was asked.
//!
//! Rule: it answers Binding requests and nothing else, never with more than a few bytes beyond what
//! it was sent, and each address only so often: nobody is worth spoofing towards it.

use crate::admission::{network, per_second};
use crate::config::StunConfig;
use crate::metrics::Metrics;
use governor::DefaultKeyedRateLimiter;
use rtc_stun::fingerprint::FINGERPRINT;
use rtc_stun::message::{BINDING_REQUEST, BINDING_SUCCESS, Message, is_stun_message};
use rtc_stun::xoraddr::XorMappedAddress;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;
use tokio::net::UdpSocket;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

/// Largest request: those of browsers have 20 to 100 bytes.
const REQUEST_BYTES_MAX: usize = 548;
/// Answered requests between two looks for addresses to forget.
const TIDY_EVERY: u32 = 10_000;
/// Pause after a failed receive, so that the loop does not spin.
const PAUSE: Duration = Duration::from_millis(100);

/// All sockets of the server.
pub(crate) struct Stun {
    sockets: Vec<UdpSocket>,
    limiter: Arc<DefaultKeyedRateLimiter<IpAddr>>,
}

impl Stun {
    /// Binds them.
    ///
    /// # Errors
    /// A sentence that names the address.
    pub(crate) async fn bind(config: &StunConfig) -> Result<Self, String> {
        let mut sockets = Vec::new();
        for address in config.listen.iter().filter_map(|listen| listen.0) {
            let socket = UdpSocket::bind(address).await.map_err(|error| {
                format!("cannot listen on UDP {address}: {error} (choose another: --stun-listen)")
            })?;
            sockets.push(socket);
        }
        Ok(Self { sockets, limiter: Arc::new(per_second(config.requests_per_second_max.0)) })
    }

    /// Where they are.
    pub(crate) fn addresses(&self) -> Vec<SocketAddr> {
        self.sockets.iter().filter_map(|socket| socket.local_addr().ok()).collect()
    }

    /// Serves each in a task of its own, until `stop`.
    pub(crate) fn serve(
        self,
        metrics: &Arc<Metrics>,
        stop: &CancellationToken,
        tasks: &mut JoinSet<()>,
    ) {
        for socket in self.sockets {
            let (limiter, metrics) = (Arc::clone(&self.limiter), Arc::clone(metrics));
            let responder = Responder { socket, limiter, metrics, answered: 0 };
            tasks.spawn(responder.run(stop.clone()));
        }
    }
}

struct Responder {
    socket: UdpSocket,
    limiter: Arc<DefaultKeyedRateLimiter<IpAddr>>,
    metrics: Arc<Metrics>,
    answered: u32,
}

impl Responder {
    async fn run(mut self, stop: CancellationToken) {
        let mut buffer = [0; REQUEST_BYTES_MAX];
        loop {
            let received = tokio::select! {
                received = self.socket.recv_from(&mut buffer) => received,
                () = stop.cancelled() => return,
            };
            match received {
                Ok((len, from)) => self.take(&buffer[..len], from).await,
                // A client that is gone: its host said so.
                Err(error) if error.kind() == io::ErrorKind::ConnectionReset => {}
                Err(error) => {
                    tracing::warn!(%error, "cannot receive STUN");
                    tokio::time::sleep(PAUSE).await;
                }
            }
        }
    }

    async fn take(&mut self, request: &[u8], from: SocketAddr) {
        let refused = |reason| self.metrics.refused.with_label_values(&[reason]).inc();
        if self.limiter.check_key(&network(from.ip())).is_err() {
            return refused("stun_rate");
        }
        let Some(answer) = answer(request, from) else { return refused("stun_request") };
        // A full queue loses it, as the network may.
        let _ = self.socket.try_send_to(&answer, from);
        self.answered += 1;
        if self.answered.is_multiple_of(TIDY_EVERY) {
            self.limiter.retain_recent();
            tokio::task::yield_now().await;
        }
    }
}

/// The answer to a Binding request; none to anything else.
fn answer(request: &[u8], from: SocketAddr) -> Option<Vec<u8>> {
    if !is_stun_message(request) {
        return None;
    }
    let mut asked = Message::new();
    asked.unmarshal_binary(request).ok()?;
    if asked.typ != BINDING_REQUEST {
        return None;
    }
    let mapped = XorMappedAddress { ip: from.ip().to_canonical(), port: from.port() };
    let mut answer = Message::new();
    let parts: [Box<dyn rtc_stun::message::Setter>; 4] = [
        Box::new(asked.transaction_id),
        Box::new(BINDING_SUCCESS),
        Box::new(mapped),
        Box::new(FINGERPRINT),
    ];
    answer.build(&parts).ok()?;
    Some(answer.raw)
}

#[cfg(test)]
mod tests {
    use super::*;
    use rtc_stun::message::{Getter, TransactionId};

    #[test]
    fn only_binding_requests_are_answered() {
        let from: SocketAddr = "192.0.2.7:40000".parse().unwrap();
        let mut request = Message::new();
        let id = TransactionId([3; 12]);
        request.build(&[Box::new(id), Box::new(BINDING_REQUEST)]).unwrap();
        let answered = answer(&request.raw, from).unwrap();
        let mut message = Message::new();
        message.unmarshal_binary(&answered).unwrap();
        let mut mapped = XorMappedAddress::default();
        mapped.get_from(&message).unwrap();
        assert_eq!((mapped.ip, mapped.port), (from.ip(), 40000));
        assert_eq!(message.transaction_id, id);
        FINGERPRINT.check(&message).unwrap();
        assert_eq!(answer(&answered, from), None, "an answer is not answered: no loops");
        assert_eq!(answer(b"GET / HTTP/1.1\r\n\r\n....", from), None);
        assert_eq!(answer(&request.raw[..19], from), None);
        assert_eq!(answer(&[], from), None);
    }
}
