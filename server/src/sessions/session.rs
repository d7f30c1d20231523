//! One viewer's session: its socket, from hello to goodbye.
//!
//! Rule: whatever a viewer sends, the session ends with a sentence that says why and the server
//! goes on. It reads no faster than the hub takes, and no more per second than is allowed. What
//! it does only now and then is boxed while it lasts: a session waits most of the time, and its task
//! is as large as the largest thing that it may wait for.

use super::hub::digest_message;
use super::links::Kind;
use super::outbox::{Inbox, Outbox, frame};
use super::oversight::origin_of;
use super::{Command, Guest, Joining, Refused, SessionEntry};
use crate::admission::{Refusal, TokenError, ViewersIce};
use crate::net::{Broken, WebSocket};
use axum::extract::ws::{Message, Utf8Bytes};
use shoal_tracker::{Mapping, Place, Profile};
use shoal_wire::tracker_message::{RefuseCode, WANT_DIGESTS_MAX};
use shoal_wire::{ClientMessage, PROTOCOL, PeerId, ServerMessage, StreamName};
use std::net::IpAddr;
use std::time::Duration;
use tokio::sync::oneshot;
use tokio::time::{Instant, timeout};

/// Time for one batch of messages to be written before the session counts as dead.
const WRITE_TIMEOUT: Duration = Duration::from_secs(15);
/// Time for the last words of a session.
const CLOSE_TIMEOUT: Duration = Duration::from_secs(1);
/// Pings that may go unanswered.
const SILENT_PINGS_MAX: u32 = 3;
/// Reports that a viewer may send where one is asked for: engines report at once what is urgent.
const REPORTS_PER_INTERVAL: f64 = 10.0;
/// Seconds over which the rate of messages is averaged: a join comes in a burst.
const BURST_SECONDS: f64 = 10.0;

/// Serves a session on the WebSocket of `guest`.
pub(crate) async fn serve(mut socket: WebSocket, entry: SessionEntry, guest: Guest) {
    let _open = entry.open.token();
    let ended = run(&mut socket, &entry, &guest).await;
    if let Err(Refused { code, message }) = ended {
        entry.metrics.refused.with_label_values(&[label(code)]).inc();
        tracing::debug!(stream = %guest.stream, ?code, message, "session refused");
        let refusal = frame(&ServerMessage::Refuse { code, message });
        // The viewer may be gone; then nobody misses the reason.
        let last_words = socket.send(refusal);
        let _ = Box::pin(timeout(CLOSE_TIMEOUT, last_words)).await;
    }
    let _ = Box::pin(timeout(CLOSE_TIMEOUT, socket.send(Message::Close(None)))).await;
}

const fn label(code: RefuseCode) -> &'static str {
    match code {
        RefuseCode::Protocol => "session_protocol",
        RefuseCode::UnknownStream => "session_stream",
        RefuseCode::BadMessage => "session_message",
        RefuseCode::Limit => "session_limit",
        RefuseCode::Removed => "session_removed",
        RefuseCode::Shutdown => "session_shutdown",
    }
}

fn bad(message: impl Into<String>) -> Refused {
    Refused { code: RefuseCode::BadMessage, message: message.into() }
}

async fn run(socket: &mut WebSocket, entry: &SessionEntry, guest: &Guest) -> Result<(), Refused> {
    let patience = entry.config.hello_timeout_ms.0;
    let waiter = entry.waiting.enter();
    let hello = tokio::select! {
        hello = Box::pin(timeout(patience, first_text(socket))) => hello,
        () = waiter.sent_away() => {
            entry.metrics.refused.with_label_values(&["session_unjoined"]).inc();
            let message = "too many sockets say no hello (tracker.unjoined_max)".to_owned();
            return Err(Refused { code: RefuseCode::Limit, message });
        }
    };
    drop(waiter);
    let hello = match hello {
        Ok(Some(text)) => parse(&text?)?,
        Ok(None) => return Ok(()),
        Err(_) => return Err(bad("no hello came in time")),
    };
    let (outbox, inbox) = Outbox::new(entry.config.queue_messages_max.0);
    let (reply, answer) = oneshot::channel();
    let origin = origin_of(guest.address, &entry.origin_key);
    let joining = Joining { origin, ..joining(hello, guest, outbox, reply)? };
    let stream = joining.stream.clone();
    let stopping = || Refused { code: RefuseCode::Shutdown, message: "the server stops".into() };
    let join = entry.hub.send(Command::Join(Box::new(joining)));
    Box::pin(join).await.map_err(|_| stopping())?;
    let peer = answer.await.map_err(|_| stopping())??;
    let budget = Budget::new(entry.config.messages_per_second_max.0 as f64);
    let reports =
        Budget::new(REPORTS_PER_INTERVAL / entry.config.report_interval_ms.0.as_secs_f64());
    let expires = guest.ticket.expires;
    let ice = &guest.ice;
    let mut session = Session { entry, stream, peer, expires, ice, inbox, budget, reports };
    let ended = session.exchange(socket).await;
    let Session { stream, .. } = session;
    // Fails only when the hub has gone, and then it knows.
    let _ = Box::pin(entry.hub.send(Command::Leave { stream, peer })).await;
    ended
}

/// A hello as the hub wants it.
fn joining(
    hello: ClientMessage,
    guest: &Guest,
    outbox: Outbox,
    reply: oneshot::Sender<Result<PeerId, Refused>>,
) -> Result<Joining, Refused> {
    let ClientMessage::Hello {
        protocol,
        stream,
        share,
        upload_cap,
        links_max,
        offers,
        resume,
        agent,
    } = hello
    else {
        return Err(bad("the first message must be a hello"));
    };
    if protocol != PROTOCOL {
        let message = format!("this server speaks protocol {PROTOCOL}, not {protocol}");
        return Err(Refused { code: RefuseCode::Protocol, message });
    }
    if stream != guest.stream {
        let message = format!("the hello is for `{stream}`, the socket for `{}`", guest.stream);
        return Err(Refused { code: RefuseCode::UnknownStream, message });
    }
    let profile = Profile {
        share,
        upload_cap,
        links_max,
        place: place(guest.address),
        mapping: Mapping::Unknown,
    };
    let kind = Kind::of(&agent, offers);
    let (bearer, ice) = (guest.ticket.bearer, guest.ice.servers());
    let origin = 0;
    Ok(Joining { stream, bearer, ice, profile, offers, kind, origin, resume, outbox, reply })
}

struct Session<'a> {
    entry: &'a SessionEntry,
    stream: StreamName,
    peer: PeerId,
    /// When its token no longer holds.
    expires: Instant,
    ice: &'a ViewersIce,
    inbox: Inbox,
    budget: Budget,
    reports: Budget,
}

impl Session<'_> {
    async fn exchange(&mut self, socket: &mut WebSocket) -> Result<(), Refused> {
        let interval = self.entry.config.ping_interval_ms.0;
        let mut heard = Instant::now();
        let mut pings = 0;
        let mut renew_at = heard + self.ice.renew_after();
        loop {
            let ping_at = heard + interval * (pings + 1);
            tokio::select! {
                batch = self.inbox.take() => {
                    let Some(batch) = batch else { return Ok(()) };
                    if !Box::pin(write(socket, batch.into_iter())).await {
                        return Ok(());
                    }
                }
                next = next(socket) => {
                    (heard, pings) = (Instant::now(), 0);
                    let text = match next {
                        None => return Ok(()),
                        Some(Heard::Alive) => continue,
                        Some(Heard::Text(text)) => text,
                    };
                    if !self.budget.take(heard) {
                        let message = "more messages per second than are allowed".to_owned();
                        return Err(Refused { code: RefuseCode::Limit, message });
                    }
                    let message = parse(&text?)?;
                    if matches!(message, ClientMessage::Report(_)) && !self.reports.take(heard) {
                        self.entry.metrics.refused.with_label_values(&["session_reports"]).inc();
                        let message = "more reports than are asked for".to_owned();
                        return Err(Refused { code: RefuseCode::Limit, message });
                    }
                    if !Box::pin(self.message(socket, message)).await? {
                        return Ok(());
                    }
                }
                () = tokio::time::sleep_until(ping_at.min(self.expires).min(renew_at)) => {
                    let now = Instant::now();
                    if now >= self.expires {
                        return Err(self.expired());
                    }
                    if now >= renew_at {
                        renew_at = now + self.ice.renew_after();
                        if !Box::pin(self.renew_ice(socket)).await {
                            return Ok(());
                        }
                        continue;
                    }
                    pings += 1;
                    let ping = socket.send(Message::Ping(bytes::Bytes::new()));
                    let pinged = Box::pin(timeout(WRITE_TIMEOUT, ping)).await;
                    if pings > SILENT_PINGS_MAX || !matches!(pinged, Ok(Ok(()))) {
                        return Ok(());
                    }
                }
            }
        }
    }

    /// Gives ICE servers whose passwords are new; whether the socket took them.
    async fn renew_ice(&self, socket: &mut WebSocket) -> bool {
        let message = ServerMessage::IceServers { ice_servers: self.ice.servers() };
        write(socket, std::iter::once(frame(&message))).await
    }

    /// Counted and said as it is to who would join with such a token.
    fn expired(&self) -> Refused {
        let refusal = Refusal::from(TokenError::Expired);
        self.entry.metrics.refused.with_label_values(&[refusal.reason]).inc();
        Refused { code: RefuseCode::Limit, message: refusal.message }
    }

    /// Whether the session goes on.
    async fn message(
        &self,
        socket: &mut WebSocket,
        message: ClientMessage,
    ) -> Result<bool, Refused> {
        match message {
            ClientMessage::Hello { .. } => Err(bad("hello is said once")),
            ClientMessage::Bye => Ok(false),
            ClientMessage::WantDigests { objects } => {
                if objects.len() > WANT_DIGESTS_MAX {
                    let most = format!("digests are given {WANT_DIGESTS_MAX} at a time");
                    return Err(Refused { code: RefuseCode::Limit, message: most });
                }
                let found = objects.iter().filter_map(|id| self.entry.digest(&self.stream, *id));
                let frames = found.map(|digest| frame(&digest_message(&digest)));
                Ok(write(socket, frames.collect::<Vec<_>>().into_iter()).await)
            }
            message @ (ClientMessage::Watch { .. }
            | ClientMessage::Position { .. }
            | ClientMessage::Unwatch { .. }
            | ClientMessage::Share { .. }
            | ClientMessage::Mapping { .. }
            | ClientMessage::Signal { .. }
            | ClientMessage::Link { .. }
            | ClientMessage::Lost { .. }
            | ClientMessage::BadChunk { .. }
            | ClientMessage::Traced { .. }
            | ClientMessage::Report(_)) => {
                let command =
                    Command::Message { stream: self.stream.clone(), peer: self.peer, message };
                Ok(self.entry.hub.send(command).await.is_ok())
            }
        }
    }
}

/// What came over a socket.
enum Heard {
    /// A message, or why it is none.
    Text(Result<Utf8Bytes, Refused>),
    /// A sign of life.
    Alive,
}

/// What comes next; none when the socket has closed.
async fn next(socket: &mut WebSocket) -> Option<Heard> {
    match socket.recv().await? {
        Ok(Message::Text(text)) => Some(Heard::Text(Ok(text))),
        Ok(Message::Binary(_)) => Some(Heard::Text(Err(bad("messages are text")))),
        Ok(Message::Ping(_) | Message::Pong(_)) => Some(Heard::Alive),
        Ok(Message::Close(_)) => None,
        Err(Broken::Rule(rule)) => Some(Heard::Text(Err(bad(rule)))),
        Err(Broken::Lost(_)) => None,
    }
}

async fn first_text(socket: &mut WebSocket) -> Option<Result<Utf8Bytes, Refused>> {
    loop {
        match next(socket).await? {
            Heard::Text(text) => return Some(text),
            Heard::Alive => {}
        }
    }
}

fn parse(text: &str) -> Result<ClientMessage, Refused> {
    ClientMessage::from_json(text).map_err(|error| bad(error.to_string()))
}

/// Writes messages, then flushes; whether the socket took them.
async fn write(socket: &mut WebSocket, frames: impl Iterator<Item = Message>) -> bool {
    let writing = async {
        for frame in frames {
            socket.feed(frame).await?;
        }
        socket.flush().await
    };
    matches!(timeout(WRITE_TIMEOUT, writing).await, Ok(Ok(())))
}

/// How many messages a viewer may still send.
struct Budget {
    left: f64,
    most: f64,
    per_second: f64,
    at: Instant,
}

impl Budget {
    fn new(per_second: f64) -> Self {
        let most = (per_second * BURST_SECONDS).max(1.0);
        Self { left: most, most, per_second, at: Instant::now() }
    }

    fn take(&mut self, now: Instant) -> bool {
        let earned = now.saturating_duration_since(self.at).as_secs_f64() * self.per_second;
        self.left = (self.left + earned).min(self.most) - 1.0;
        self.at = now;
        self.left >= 0.0
    }
}

/// Where an address is: the same for one /24 or /48, and nothing that leads back to it.
fn place(address: IpAddr) -> Place {
    let hash = match address.to_canonical() {
        IpAddr::V4(v4) => blake3::hash(&v4.octets()[..3]),
        IpAddr::V6(v6) => blake3::hash(&v6.octets()[..6]),
    };
    let [a, b, c, d, ..] = *hash.as_bytes();
    // Zero would mean unknown.
    let subnet = u32::from_be_bytes([a, b, c, d]).max(1);
    Place { subnet, ..Place::default() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn neighbours_in_a_subnet_are_near() {
        let near = |a: &str, b: &str| place(a.parse().unwrap()) == place(b.parse().unwrap());
        assert!(near("192.0.2.1", "192.0.2.200"));
        assert!(!near("192.0.2.1", "192.0.3.1"));
        assert!(near("2001:db8:1:2::1", "2001:db8:1:3::1"));
        assert!(near("::ffff:192.0.2.1", "192.0.2.9"));
    }

    #[test]
    fn a_burst_is_allowed_and_a_flood_is_not() {
        let start = Instant::now();
        let mut budget = Budget::new(10.0);
        assert!((0..100).all(|_| budget.take(start)));
        assert!(!budget.take(start));
        assert!(budget.take(start + Duration::from_secs(1)));
    }
}
