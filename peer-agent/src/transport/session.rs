//! One peer connection of the `webrtc` crate, set up as this agent needs it.
//!
//! Rule: the crate's callbacks run on its driver, so they only pass on and never wait.
//!
//! It knows nothing of queues and events to the owner: `link.rs` does.

use super::config::LinkConfig;
use super::meter::Meter;
use super::runtime::LinkRuntime;
use rtc::ice::mdns::MulticastDnsMode;
use shoal_wire::peer_message::MESSAGE_BYTES_MAX;
use shoal_wire::tracker_message::Signal;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{mpsc, watch};
use webrtc::data_channel::{DataChannel, RTCDataChannelInit};
use webrtc::error::Result;
use webrtc::peer_connection::{
    PeerConnection, PeerConnectionBuilder, PeerConnectionEventHandler, RTCConfigurationBuilder,
    RTCIceCandidateInit, RTCIceGatheringState, RTCIceServer, RTCPeerConnectionIceEvent,
    RTCPeerConnectionState, RTCSessionDescription, SettingEngine, SettingEngineBuilder,
};
use webrtc::runtime::Runtime;

/// The data channel's name. Nothing depends on it; it tells a reader of a dump what this is.
const CHANNEL_LABEL: &str = "shoal";

/// See [`super`]: SCTP's window, the product of 1 Gbit/s and 30 ms.
const RECEIVE_WINDOW_BYTES: u32 = 4 << 20;

/// See [`super`]: the crate's default of 200 ms is most of the time that opening takes.
const ICE_CHECK_INTERVAL: Duration = Duration::from_millis(20);

/// Checks per candidate pair: 70 × 20 ms is the crate's own 1.4 s.
const ICE_CHECKS_MAX: u16 = 70;

/// A quarter of the silence that counts as trouble.
const KEEP_ALIVE_INTERVAL: Duration = Duration::from_secs(1);

/// News that wait for the link's task while it opens: candidates of all interfaces, mostly.
const NEWS_MAX: usize = 64;

/// What happened to a connection.
pub(crate) enum News {
    /// A local candidate was found.
    Candidate(RTCIceCandidateInit),
    /// No more will be.
    Gathered,
    /// The other side opened a channel.
    Channel(Arc<dyn DataChannel>),
}

/// A connection and what comes out of it.
pub(crate) struct Session {
    pub(crate) connection: Arc<dyn PeerConnection>,
    pub(crate) runtime: Arc<LinkRuntime>,
    pub(crate) news: mpsc::Receiver<News>,
    pub(crate) state: watch::Receiver<RTCPeerConnectionState>,
}

impl Session {
    /// Binds the sockets and starts the driver.
    pub(crate) async fn new(config: &LinkConfig, meter: Arc<Meter>) -> Result<Self> {
        let (news_tx, news) = mpsc::channel(NEWS_MAX);
        let (state_tx, state) = watch::channel(RTCPeerConnectionState::New);
        let runtime = Arc::new(LinkRuntime::new(meter));
        let ice_servers = config.ice_servers.iter().map(|server| RTCIceServer {
            urls: server.urls.clone(),
            username: server.username.clone(),
            credential: server.credential.clone(),
        });
        let configuration =
            RTCConfigurationBuilder::default().with_ice_servers(ice_servers.collect()).build();
        let connection = PeerConnectionBuilder::new()
            .with_configuration(configuration)
            .with_setting_engine(settings(config))
            .with_runtime(Arc::clone(&runtime) as Arc<dyn Runtime>)
            .with_handler(Arc::new(Handler { news: news_tx, state: state_tx }))
            .with_udp_addrs(config.bind_addresses())
            .with_data_channel_send_buffer_limit(config.in_flight_bytes_max)
            .build()
            .await?;
        Ok(Self { connection: Arc::new(connection), runtime, news, state })
    }

    /// Creates the channel and the offer that asks for it; gathering starts.
    pub(crate) async fn offer(&self) -> Result<Arc<dyn DataChannel>> {
        let init = RTCDataChannelInit { ordered: false, ..RTCDataChannelInit::default() };
        let channel = self.connection.create_data_channel(CHANNEL_LABEL, Some(init)).await?;
        let offer = self.connection.create_offer(None).await?;
        self.connection.set_local_description(offer).await?;
        Ok(channel)
    }

    /// Takes an offer and makes the answer; gathering starts.
    pub(crate) async fn answer(&self, sdp: String) -> Result<()> {
        self.connection.set_remote_description(RTCSessionDescription::offer(sdp)?).await?;
        let answer = self.connection.create_answer(None).await?;
        self.connection.set_local_description(answer).await
    }

    /// Takes the answer to an earlier offer.
    pub(crate) async fn accept(&self, sdp: String) -> Result<()> {
        self.connection.set_remote_description(RTCSessionDescription::answer(sdp)?).await
    }

    /// Takes a candidate of the other side, after its description.
    pub(crate) async fn add(&self, candidate: String, mid: Option<String>) -> Result<()> {
        let mline = mid.is_none().then_some(0);
        let init = RTCIceCandidateInit {
            candidate,
            sdp_mid: mid,
            sdp_mline_index: mline,
            username_fragment: None,
            url: None,
        };
        self.connection.add_ice_candidate(init).await
    }

    /// The local description as a signal, with the candidates found so far.
    pub(crate) async fn description(&self, offer: bool) -> Option<Signal> {
        let sdp = self.connection.local_description().await?.sdp;
        Some(if offer { Signal::Offer { sdp } } else { Signal::Answer { sdp } })
    }
}

/// Resolves when ICE or DTLS has given up, or the other side closed the connection.
pub(crate) async fn ended(
    state: &mut watch::Receiver<RTCPeerConnectionState>,
) -> RTCPeerConnectionState {
    let over = |state: &RTCPeerConnectionState| {
        matches!(state, RTCPeerConnectionState::Failed | RTCPeerConnectionState::Closed)
    };
    state.wait_for(over).await.map_or(RTCPeerConnectionState::Closed, |state| *state)
}

fn settings(config: &LinkConfig) -> SettingEngine {
    use rtc::peer_connection::configuration::setting_engine::SctpMaxMessageSize;
    // One more than the longest message, as every stack announces 2^16 and refuses above it.
    let message_bytes_max = MESSAGE_BYTES_MAX as u32 + 1;
    SettingEngineBuilder::new()
        .with_multicast_dns_mode(MulticastDnsMode::Disabled)
        .with_include_loopback_candidate(config.local_address.is_loopback())
        .with_sctp_max_message_size(SctpMaxMessageSize::Bounded(message_bytes_max))
        .with_sctp_max_receive_buffer_size(RECEIVE_WINDOW_BYTES)
        .with_prflx_acceptance_min_wait(Some(Duration::ZERO))
        .with_ice_connection_attempts(Some(ICE_CHECK_INTERVAL), Some(ICE_CHECKS_MAX))
        .with_ice_timeouts(
            Some(config.silence_max),
            Some(config.silence_fatal),
            Some(KEEP_ALIVE_INTERVAL),
        )
        .build()
}

struct Handler {
    news: mpsc::Sender<News>,
    state: watch::Sender<RTCPeerConnectionState>,
}

impl Handler {
    fn pass(&self, news: News) {
        if self.news.try_send(news).is_err() {
            tracing::debug!("news of a link that nobody waits for any more");
        }
    }
}

#[async_trait::async_trait]
impl PeerConnectionEventHandler for Handler {
    async fn on_ice_candidate(&self, event: RTCPeerConnectionIceEvent) {
        if let Ok(candidate) = event.candidate.to_json() {
            self.pass(News::Candidate(candidate));
        }
    }

    async fn on_ice_gathering_state_change(&self, state: RTCIceGatheringState) {
        if state == RTCIceGatheringState::Complete {
            self.pass(News::Gathered);
        }
    }

    async fn on_connection_state_change(&self, state: RTCPeerConnectionState) {
        self.state.send_replace(state);
    }

    async fn on_data_channel(&self, channel: Arc<dyn DataChannel>) {
        self.pass(News::Channel(channel));
    }
}
