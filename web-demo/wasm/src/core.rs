//! The engine, its clock as milliseconds, and the way of each event in and out.
//!
//! Rule: one call, one input; what the engine asks for is carried out before the call returns.

use crate::host::Host;
use crate::status;
use bytes::Bytes;
use shoal_peer::{
    ByteRange, Config, Engine, FetchId, Input, Offence, OriginFailure, Output, RequestId,
};
use shoal_wire::tracker_message::{Mapping, RefuseCode, Signal};
use shoal_wire::{
    BitRate, ClientMessage, Instant, ObjectId, PROTOCOL, PeerId, PeerMessage, ServerMessage,
    ShareMode, StreamName,
};
use std::time::Duration;
use wasm_bindgen::prelude::{JsError, wasm_bindgen};

/// Links that a page keeps: each is an RTCPeerConnection of its own, 0.5–1 MB in Chromium.
const LINKS_MAX: u16 = 20;
/// Chunks kept: a phone's tab has less room than a native agent.
const STORE_BYTES_MAX: usize = 48 << 20;
/// The same on demand, where others come later to what was played.
const ON_DEMAND_BYTES_MAX: usize = 96 << 20;

/// One viewer's engine for one stream.
///
/// Every method that takes `now_ms` wants `performance.now()`.
#[wasm_bindgen]
pub struct Core {
    engine: Engine,
    stream: StreamName,
    share: ShareMode,
    upload_cap: Option<BitRate>,
    host: Host,
}

#[wasm_bindgen]
impl Core {
    /// An engine for `stream`.
    ///
    /// `share` is `share`, `receive-only` or `off`; a cap of 0 bit/s is none; `seed` is any random
    /// number.
    ///
    /// # Errors
    /// If `stream` is no stream name or `share` none of these.
    #[wasm_bindgen(constructor)]
    pub fn new(
        stream: &str,
        share: &str,
        upload_cap_bps: f64,
        seed: u64,
        host: Host,
    ) -> Result<Self, JsError> {
        let stream: StreamName = stream.parse()?;
        let (share, upload_cap) = (share_mode(share)?, cap(upload_cap_bps));
        let config = Config {
            share,
            upload_cap,
            links_max: LINKS_MAX,
            store_bytes_max: STORE_BYTES_MAX,
            on_demand_bytes_max: ON_DEMAND_BYTES_MAX,
            ..Config::default()
        };
        let engine = Engine::new(stream.clone(), config, seed);
        Ok(Self { engine, stream, share, upload_cap, host })
    }

    /// The player wants an object, by its name; an end of -1 is the object's. False if the name is
    /// none.
    pub fn request(
        &mut self,
        id: f64,
        object: &str,
        start: f64,
        end: f64,
        duration_s: f64,
        now_ms: f64,
    ) -> bool {
        let Some(object) = ObjectId::from_url_path(object) else { return false };
        let range = ByteRange { start: start as u32, end: (end >= 0.0).then_some(end as u32) };
        let duration = (duration_s > 0.0).then(|| seconds(duration_s));
        self.feed(Input::Request { id: RequestId(id as u64), object, range, duration }, now_ms);
        true
    }

    /// The player gave up.
    pub fn cancel(&mut self, id: f64, now_ms: f64) {
        self.feed(Input::CancelRequest { id: RequestId(id as u64) }, now_ms);
    }

    /// The player needs `object`, which it has asked for or will ask for next, after so long.
    pub fn playhead(&mut self, object: &str, needed_in_ms: f64, now_ms: f64) {
        if let Some(object) = ObjectId::from_url_path(object) {
            let needed_in = seconds(needed_in_ms / 1000.0);
            self.feed(Input::Playhead { object, needed_in }, now_ms);
        }
    }

    /// The rendition of `object` is not played any more.
    #[wasm_bindgen(js_name = stopWatching)]
    pub fn stop_watching(&mut self, object: &str, now_ms: f64) {
        if let Some(ObjectId { rendition, .. }) = ObjectId::from_url_path(object) {
            self.feed(Input::StopWatching { rendition }, now_ms);
        }
    }

    /// The viewer, or the state of the page, changed what is allowed.
    ///
    /// # Errors
    /// If `share` is no share mode.
    #[wasm_bindgen(js_name = setShare)]
    pub fn set_share(
        &mut self,
        share: &str,
        upload_cap_bps: f64,
        now_ms: f64,
    ) -> Result<(), JsError> {
        (self.share, self.upload_cap) = (share_mode(share)?, cap(upload_cap_bps));
        let (share, upload_cap) = (self.share, self.upload_cap);
        self.feed(Input::Share { share, upload_cap }, now_ms);
        Ok(())
    }

    /// The WebSocket is open: says hello as `agent`.
    #[wasm_bindgen(js_name = serverConnected)]
    pub fn server_connected(&mut self, agent: &str, now_ms: f64) {
        let hello = ClientMessage::Hello {
            protocol: PROTOCOL,
            stream: self.stream.clone(),
            agent: agent.to_owned(),
            share: self.share,
            upload_cap: self.upload_cap,
            links_max: LINKS_MAX,
            offers: true,
            resume: self.engine.resume(),
        };
        self.host.tell(&hello.to_json());
        self.feed(Input::ServerConnected, now_ms);
    }

    /// The WebSocket closed, or could not be opened.
    #[wasm_bindgen(js_name = serverLost)]
    pub fn server_lost(&mut self, now_ms: f64) {
        self.feed(Input::ServerLost, now_ms);
    }

    /// A digest: what the tracker sends as binary. False if it is none.
    #[wasm_bindgen(js_name = serverDigest)]
    pub fn server_digest(&mut self, digest: Vec<u8>, now_ms: f64) -> bool {
        let Ok(message) = ServerMessage::from_binary(digest.into()) else { return false };
        self.server(message, now_ms);
        true
    }

    /// Any other message of the tracker. False if it is none.
    #[wasm_bindgen(js_name = serverMessage)]
    pub fn server_message(&mut self, text: &str, now_ms: f64) -> bool {
        let Ok(message) = ServerMessage::from_text(text) else { return false };
        self.server(message, now_ms);
        true
    }

    /// This page's signal for `peer`, in the form that [`Host`] gives others'.
    #[wasm_bindgen(js_name = sendSignal)]
    pub fn send_signal(&self, peer: &str, signal: &str) {
        if let (Ok(peer), Ok(signal)) = (peer.parse(), serde_json::from_str::<Signal>(signal)) {
            self.host.tell(&ClientMessage::Signal { peer, signal }.to_json());
        }
    }

    /// How this page's address is translated: `stable`, `symmetric` or `unknown`.
    #[wasm_bindgen(js_name = tellMapping)]
    pub fn tell_mapping(&self, mapping: &str) {
        let mapping = match mapping {
            "stable" => Mapping::Stable,
            "symmetric" => Mapping::Symmetric,
            _ => Mapping::Unknown,
        };
        self.host.tell(&ClientMessage::Mapping { mapping }.to_json());
    }

    /// A link opened.
    #[wasm_bindgen(js_name = linkUp)]
    pub fn link_up(&mut self, peer: &str, now_ms: f64) {
        self.feed_peer(peer, now_ms, |peer| Input::LinkUp { peer });
    }

    /// A link closed, or did not open.
    #[wasm_bindgen(js_name = linkDown)]
    pub fn link_down(&mut self, peer: &str, now_ms: f64) {
        self.feed_peer(peer, now_ms, |peer| Input::LinkDown { peer });
    }

    /// A data channel message.
    #[wasm_bindgen(js_name = linkMessage)]
    pub fn link_message(&mut self, peer: &str, message: Vec<u8>, now_ms: f64) {
        self.feed_peer(peer, now_ms, |peer| match PeerMessage::decode(message.into()) {
            Ok(message) => Input::LinkMessage { peer, message },
            Err(_) => Input::LinkInvalid { peer },
        });
    }

    /// A data channel drained to so many bytes.
    #[wasm_bindgen(js_name = linkBuffered)]
    pub fn link_buffered(&mut self, peer: &str, bytes: u32, now_ms: f64) {
        self.feed_peer(peer, now_ms, |peer| Input::LinkBuffered { peer, bytes });
    }

    /// The origin has begun to answer; a length of -1 is unknown.
    #[wasm_bindgen(js_name = originStarted)]
    pub fn origin_started(&mut self, fetch: f64, total_bytes: f64, offset: u32, now_ms: f64) {
        let total_len = (total_bytes >= 0.0).then_some(total_bytes as u32);
        let fetch = FetchId(fetch as u64);
        self.feed(Input::OriginStarted { fetch, total_len, offset }, now_ms);
    }

    /// More bytes of it.
    #[wasm_bindgen(js_name = originData)]
    pub fn origin_data(&mut self, fetch: f64, bytes: Vec<u8>, now_ms: f64) {
        let (fetch, bytes) = (FetchId(fetch as u64), Bytes::from(bytes));
        self.feed(Input::OriginData { fetch, bytes }, now_ms);
    }

    /// All of it is here.
    #[wasm_bindgen(js_name = originDone)]
    pub fn origin_done(&mut self, fetch: f64, now_ms: f64) {
        self.feed(Input::OriginDone { fetch: FetchId(fetch as u64) }, now_ms);
    }

    /// The fetch failed with a status, or with 0 if the origin could not be reached.
    #[wasm_bindgen(js_name = originFailed)]
    pub fn origin_failed(&mut self, fetch: f64, status: u16, now_ms: f64) {
        let (fetch, failure) = (FetchId(fetch as u64), failure(status));
        self.feed(Input::OriginFailed { fetch, failure }, now_ms);
    }

    /// A digest was fetched: its bytes, or none and the origin's status, 0 if it cannot be reached.
    #[wasm_bindgen(js_name = digestFetched)]
    pub fn digest_fetched(
        &mut self,
        object: &str,
        bytes: Option<Vec<u8>>,
        status: u16,
        now_ms: f64,
    ) {
        let Some(object) = ObjectId::from_url_path(object) else { return };
        let digest = bytes.map(Bytes::from).ok_or_else(|| failure(status));
        self.feed(Input::DigestFetched { object, digest }, now_ms);
    }

    /// The time that [`Core::timeout`] named has come.
    pub fn tick(&mut self, now_ms: f64) {
        self.feed(Input::Tick, now_ms);
    }

    /// When the engine wants a tick, in the time of `now_ms`; infinity if never.
    pub fn timeout(&self) -> f64 {
        let at = self.engine.poll_timeout();
        at.map_or(f64::INFINITY, |at| at.as_micros() as f64 / 1000.0)
    }

    /// A snapshot as JSON, in the form of the SDK's `CoreStatus`.
    pub fn status(&self, now_ms: f64) -> String {
        status::json(&self.engine.status(instant(now_ms)))
    }

    /// Says goodbye to all.
    pub fn leave(&mut self, now_ms: f64) {
        let bye = PeerMessage::Bye.encode();
        for neighbour in self.engine.status(instant(now_ms)).neighbours {
            self.host.send(&neighbour.peer.to_string(), &bye);
        }
        self.host.tell(&ClientMessage::Bye.to_json());
    }
}

impl Core {
    fn server(&mut self, message: ServerMessage, now_ms: f64) {
        match &message {
            ServerMessage::Signal { peer, signal } => {
                let signal = serde_json::to_string(signal).expect("a signal is text");
                self.host.signal(&peer.to_string(), &signal);
                return;
            }
            ServerMessage::Welcome { ice_servers, .. } => {
                let servers = serde_json::to_string(ice_servers).expect("servers are text");
                self.host.welcome(&servers);
            }
            ServerMessage::IceServers { ice_servers } => {
                let servers = serde_json::to_string(ice_servers).expect("servers are text");
                self.host.ice_servers(&servers);
                return;
            }
            ServerMessage::Reconnect { after_ms } => {
                self.host.dismissed((*after_ms).into(), "the server is about to stop");
            }
            ServerMessage::Refuse { code, message } => {
                let after_ms = match code {
                    RefuseCode::Protocol | RefuseCode::UnknownStream | RefuseCode::Removed => {
                        30_000.0
                    }
                    RefuseCode::BadMessage | RefuseCode::Limit | RefuseCode::Shutdown => -1.0,
                };
                self.host.dismissed(after_ms, message);
            }
            ServerMessage::Peers { enabled } => self.host.peers(*enabled),
            ServerMessage::Renditions { .. }
            | ServerMessage::Introduce { .. }
            | ServerMessage::Plan { .. }
            | ServerMessage::Sources { .. }
            | ServerMessage::Digest { .. }
            | ServerMessage::Disconnect { .. }
            | ServerMessage::Trace { .. }
            | ServerMessage::OriginTiming { .. } => {}
        }
        self.feed(Input::Server(message), now_ms);
    }

    fn feed_peer(&mut self, peer: &str, now_ms: f64, input: impl FnOnce(PeerId) -> Input) {
        if let Ok(peer) = peer.parse() {
            self.feed(input(peer), now_ms);
        }
    }

    fn feed(&mut self, input: Input, now_ms: f64) {
        self.engine.handle(input, instant(now_ms));
        while let Some(output) = self.engine.poll_output() {
            self.carry_out(output);
        }
    }

    fn carry_out(&self, output: Output) {
        let host = &self.host;
        match output {
            Output::Started { id, total_len } => {
                host.started(id.0 as f64, total_len.map_or(-1.0, f64::from));
            }
            Output::Deliver { id, bytes } => host.deliver(id.0 as f64, &bytes),
            Output::Delivered { id } => host.delivered(id.0 as f64),
            Output::Failed { id, failure } => host.failed(
                id.0 as f64,
                match failure {
                    OriginFailure::Status(status) => status,
                    OriginFailure::Unreachable => 0,
                },
            ),
            Output::OriginFetch { fetch, object, range } => {
                let (offset, length) = range
                    .map_or((0.0, -1.0), |(offset, length)| (offset.into(), f64::from(length)));
                host.fetch(fetch.0 as f64, &object.file_stem(), offset, length);
            }
            Output::DigestFetch { object } => host.fetch_digest(&object.file_stem()),
            Output::OriginCancel { fetch } => host.cancel_fetch(fetch.0 as f64),
            Output::Server(message) => host.tell(&message.to_json()),
            Output::OpenLink { peer, offer } => host.open_link(&peer.to_string(), offer),
            Output::CloseLink { peer } => host.close_link(&peer.to_string()),
            Output::Send { peer, message } => host.send(&peer.to_string(), &message.encode()),
            Output::Published(digest) => {
                host.published(&digest.object.file_stem(), digest.uri());
            }
            Output::FellBack { object, reason } => {
                host.fell_back(&object.file_stem(), reason.as_str());
            }
            Output::CutOff { peer, offence } => {
                let offence = match offence {
                    Offence::BadChunk => "bad-chunk",
                    Offence::BadDigest => "bad-digest",
                    Offence::BadMessage => "bad-message",
                };
                host.cut_off(&peer.to_string(), offence);
            }
        }
    }
}

fn share_mode(text: &str) -> Result<ShareMode, JsError> {
    match text {
        "share" => Ok(ShareMode::Share),
        "receive-only" => Ok(ShareMode::ReceiveOnly),
        "off" => Ok(ShareMode::Off),
        other => Err(JsError::new(&format!("`{other}` is none of share, receive-only and off"))),
    }
}

/// What a status of the origin means; 0 is an origin that cannot be reached.
const fn failure(status: u16) -> OriginFailure {
    if status == 0 { OriginFailure::Unreachable } else { OriginFailure::Status(status) }
}

fn cap(bps: f64) -> Option<BitRate> {
    (bps > 0.0).then(|| BitRate::from_bps(bps as u64))
}

fn instant(ms: f64) -> Instant {
    Instant::from_micros((ms * 1000.0) as u64)
}

/// A duration of so many seconds; nonsense is none.
fn seconds(seconds: f64) -> Duration {
    Duration::try_from_secs_f64(seconds).unwrap_or_default()
}
