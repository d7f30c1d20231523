//! The `rtc` core with the smallest driver that is fast: one task and one socket per end, and
//! segmentation offload both ways.
//!
//! Rule: the settings that matter to the figures are those of the agent's own links.

use super::{Transfer, process};
use bytes::BytesMut;
use rtc::data_channel::{RTCDataChannelId, RTCDataChannelInit};
use rtc::ice::mdns::MulticastDnsMode;
use rtc::peer_connection::configuration::RTCConfigurationBuilder;
use rtc::peer_connection::configuration::setting_engine::SettingEngineBuilder;
use rtc::peer_connection::event::{RTCDataChannelEvent, RTCPeerConnectionEvent};
use rtc::peer_connection::message::RTCMessage;
use rtc::peer_connection::transport::{CandidateConfig, CandidateHostConfig, RTCIceCandidate};
use rtc::peer_connection::{RTCPeerConnection, RTCPeerConnectionBuilder};
use rtc::sansio::Protocol;
use rtc::shared::{TaggedBytesMut, TransportContext, TransportProtocol};
use std::io::{self, IoSliceMut};
use std::net::SocketAddr;
use std::time::{Duration, Instant};
use tokio::io::Interest;
use tokio::net::UdpSocket;
use tokio::sync::oneshot;
use webrtc::runtime::{BATCH_SIZE, RecvMeta, Transmit, UdpSockRef, UdpSocketState};

const SOCKET_BUFFER_BYTES: usize = 4 << 20;
const OUTSTANDING_BYTES_MAX: usize = 1 << 20;
const DATAGRAMS_BYTES_MAX: usize = 60_000;
const IDLE_MAX: Duration = Duration::from_millis(50);
const PATIENCE: Duration = Duration::from_secs(60);

struct End {
    core: RTCPeerConnection,
    socket: UdpSocket,
    offload: UdpSocketState,
    local: SocketAddr,
    channel: Option<RTCDataChannelId>,
    buffers: Vec<Vec<u8>>,
    batch: Vec<u8>,
    /// A datagram that belongs to the next batch.
    held: Option<TaggedBytesMut>,
    received: usize,
}

impl End {
    async fn new() -> Self {
        let socket = UdpSocket::bind("127.0.0.1:0").await.expect("a socket");
        let sizes = socket2::SockRef::from(&socket);
        sizes.set_recv_buffer_size(SOCKET_BUFFER_BYTES).expect("a size");
        sizes.set_send_buffer_size(SOCKET_BUFFER_BYTES).expect("a size");
        let offload = UdpSocketState::new(UdpSockRef::from(&socket)).expect("socket options");
        let local = socket.local_addr().expect("it is bound");
        let settings = SettingEngineBuilder::new()
            .with_multicast_dns_mode(MulticastDnsMode::Disabled)
            .with_include_loopback_candidate(true)
            .with_sctp_max_receive_buffer_size(4 << 20)
            .with_prflx_acceptance_min_wait(Some(Duration::ZERO))
            .with_ice_connection_attempts(Some(Duration::from_millis(20)), Some(70))
            .build();
        let mut core = RTCPeerConnectionBuilder::new()
            .with_configuration(RTCConfigurationBuilder::new().build())
            .with_setting_engine(settings)
            .build(Instant::now())
            .expect("a connection");
        let base_config = CandidateConfig {
            network: "udp".to_owned(),
            address: local.ip().to_string(),
            port: local.port(),
            component: 1,
            ..CandidateConfig::default()
        };
        let host = CandidateHostConfig { base_config, ..CandidateHostConfig::default() };
        let host = host.new_candidate_host().expect("a candidate");
        let host = RTCIceCandidate::from(&host).to_json().expect("a candidate");
        core.add_local_candidate(host).expect("it is taken");
        let buffers = vec![vec![0; 64 << 10]; BATCH_SIZE];
        let (channel, held, batch) = (None, None, Vec::new());
        Self { core, socket, offload, local, channel, buffers, batch, held, received: 0 }
    }

    /// Sends all that the core has to send, runs of equal datagrams in one call.
    async fn flush(&mut self) {
        while let Some(first) = self.held.take().or_else(|| self.core.poll_write()) {
            let (segment, destination) = (first.message.len(), first.transport.peer_addr);
            self.batch.clear();
            self.batch.extend_from_slice(&first.message);
            let mut segments = 1;
            while segments < self.offload.max_gso_segments()
                && self.batch.len() + segment <= DATAGRAMS_BYTES_MAX
            {
                let Some(next) = self.core.poll_write() else { break };
                if next.message.len() > segment || next.transport.peer_addr != destination {
                    self.held = Some(next);
                    break;
                }
                self.batch.extend_from_slice(&next.message);
                segments += 1;
                if next.message.len() < segment {
                    break;
                }
            }
            let segment_size = (segments > 1).then_some(segment);
            let contents = &self.batch;
            let transmit =
                Transmit { destination, ecn: None, contents, segment_size, src_ip: None };
            let sent = self.socket.async_io(Interest::WRITABLE, || {
                self.offload.try_send(UdpSockRef::from(&self.socket), &transmit)
            });
            sent.await.expect("loopback takes it");
        }
    }

    /// Waits for datagrams or the core's timer.
    async fn wait(&mut self) {
        let now = Instant::now();
        let timer = self.core.poll_timeout().unwrap_or(now + IDLE_MAX).min(now + IDLE_MAX);
        let _ = tokio::time::timeout_at(timer.into(), self.socket.readable()).await;
        let mut meta = [RecvMeta::default(); BATCH_SIZE];
        loop {
            let mut slices: Vec<_> =
                self.buffers.iter_mut().map(|buffer| IoSliceMut::new(buffer)).collect();
            let got = self.socket.try_io(Interest::READABLE, || {
                self.offload.recv(UdpSockRef::from(&self.socket), &mut slices, &mut meta)
            });
            match got {
                Ok(count) => self.take(&meta[..count]),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                Err(error) => panic!("{error}"),
            }
        }
        let now = Instant::now();
        if self.core.poll_timeout().is_some_and(|timer| timer <= now) {
            self.core.handle_timeout(now).expect("a timer");
        }
    }

    fn take(&mut self, metas: &[RecvMeta]) {
        let now = Instant::now();
        for (buffer, meta) in self.buffers.iter().zip(metas) {
            for datagram in buffer[..meta.len].chunks(meta.stride.max(1)) {
                let transport = TransportContext {
                    local_addr: self.local,
                    peer_addr: meta.addr,
                    ecn: None,
                    transport_protocol: TransportProtocol::UDP,
                };
                let message = BytesMut::from(datagram);
                let _ = self.core.handle_read(TaggedBytesMut { now, transport, message });
            }
        }
        while let Some(event) = self.core.poll_event() {
            if let RTCPeerConnectionEvent::OnDataChannel(RTCDataChannelEvent::OnOpen(id)) = event {
                self.channel = Some(id);
            }
        }
        while let Some(message) = self.core.poll_read() {
            if let RTCMessage::DataChannelMessage(_, message) = message.message {
                self.received += message.data.len();
            }
        }
    }

    /// Queues messages up to the limit; how many.
    fn fill(&mut self, message_bytes: usize, count_max: usize) -> usize {
        let id = self.channel.expect("it is open");
        let mut channel = self.core.data_channel(id).expect("it is open");
        let mut sent = 0;
        while sent < count_max && channel.outstanding_bytes() < OUTSTANDING_BYTES_MAX {
            let message = BytesMut::from(&vec![sent as u8; message_bytes][..]);
            channel.send(Instant::now(), message).expect("it is open");
            sent += 1;
        }
        sent
    }
}

fn negotiate(a: &mut RTCPeerConnection, b: &mut RTCPeerConnection) {
    let now = Instant::now();
    let init = RTCDataChannelInit { ordered: false, ..RTCDataChannelInit::default() };
    a.create_data_channel("bench", Some(init)).expect("a channel");
    let offer = a.create_offer(None).expect("an offer");
    a.set_local_description(now, offer.clone()).expect("it is ours");
    b.set_remote_description(now, offer).expect("it is well formed");
    let answer = b.create_answer(None).expect("an answer");
    b.set_local_description(now, answer.clone()).expect("it is ours");
    a.set_remote_description(now, answer).expect("it is well formed");
}

/// Sends `total_bytes` in messages of `message_bytes` from one end to the other.
pub(crate) async fn transfer(message_bytes: usize, total_bytes: usize) -> Transfer {
    let (mut a, mut b) = (End::new().await, End::new().await);
    let count = total_bytes / message_bytes;
    let opening = Instant::now();
    negotiate(&mut a.core, &mut b.core);
    let (done_tx, mut done) = oneshot::channel::<()>();
    let sender = tokio::spawn(async move {
        let mut opened = None;
        let mut sent = 0;
        while done.try_recv() == Err(oneshot::error::TryRecvError::Empty) {
            a.flush().await;
            if a.channel.is_some() {
                opened.get_or_insert_with(|| (opening.elapsed(), Instant::now(), process::cpu()));
                if sent < count {
                    sent += a.fill(message_bytes, count - sent);
                    a.flush().await;
                }
            }
            a.wait().await;
        }
        opened.expect("it opened")
    });
    let receive = async {
        while b.received < count * message_bytes {
            b.flush().await;
            b.wait().await;
        }
    };
    tokio::time::timeout(PATIENCE, receive).await.expect("all messages come");
    let (end, cpu_end) = (Instant::now(), process::cpu());
    done_tx.send(()).expect("the sender waits for it");
    let (open, start, cpu) = sender.await.expect("it ends");
    Transfer { bytes: b.received, elapsed: end - start, cpu: cpu_end - cpu, open }
}
