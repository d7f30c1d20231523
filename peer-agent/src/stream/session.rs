//! What a stream's task has towards the outside: the tracker's session and the links to peers.
//!
//! Rule: nothing here waits. What cannot be sent at once is dropped, and the loss is treated as
//! that of the session or the link, which the engine knows how to survive.

use super::faults::Corruptor;
use crate::transport::{self, IceServer, LinkConfig, LinkEvent, Links};
use shoal_wire::tracker_message::{IceServer as WireIceServer, Mapping, Signal};
use shoal_wire::{ClientMessage, PeerId, PeerMessage};
use std::collections::BTreeSet;
use std::net::{IpAddr, Ipv4Addr};
use tokio::sync::mpsc::{self, error::TrySendError};

/// The tracker's session and the links.
#[derive(Debug)]
pub(crate) struct Outside {
    /// To the tracker, while a session stands.
    out: Option<mpsc::Sender<ClientMessage>>,
    welcome: bool,
    local: IpAddr,
    links: Option<Links>,
    opening: BTreeSet<PeerId>,
    corruptor: Corruptor,
}

impl Outside {
    pub(crate) fn new(corruptor: Corruptor) -> Self {
        Self {
            out: None,
            welcome: false,
            local: Ipv4Addr::UNSPECIFIED.into(),
            links: None,
            opening: BTreeSet::new(),
            corruptor,
        }
    }

    /// A session stands.
    pub(crate) fn connected(&mut self, out: mpsc::Sender<ClientMessage>, local: IpAddr) {
        self.out = Some(out);
        self.local = local;
    }

    /// It ended.
    pub(crate) fn lost(&mut self) {
        self.out = None;
        self.welcome = false;
    }

    /// The tracker answered the hello: links can be made, from now on with these ICE servers.
    pub(crate) fn welcomed(&mut self, servers: &[WireIceServer]) {
        self.welcome = true;
        let servers = ice_servers(servers);
        self.look_at_mapping(servers.clone());
        let local = self.local;
        let links = || Links::new(LinkConfig::new(local));
        self.links.get_or_insert_with(links).set_ice_servers(servers);
    }

    /// Links that are opened from now on use these ICE servers.
    pub(crate) fn use_ice_servers(&mut self, servers: &[WireIceServer]) {
        if let Some(links) = &mut self.links {
            links.set_ice_servers(ice_servers(servers));
        }
    }

    /// Finds out what address translation does here and tells the tracker of this session; nobody
    /// waits for it.
    fn look_at_mapping(&self, servers: Vec<IceServer>) {
        let Some(out) = self.out.as_ref().map(mpsc::Sender::downgrade) else { return };
        tokio::spawn(async move {
            let mapping = transport::mapping(&servers).await;
            // A session that has ended meanwhile needs no news.
            if mapping != Mapping::Unknown
                && let Some(out) = out.upgrade()
            {
                let _ = out.try_send(ClientMessage::Mapping { mapping });
            }
        });
    }

    /// Whether the tracker has welcomed this session.
    pub(crate) const fn is_welcome(&self) -> bool {
        self.welcome
    }

    /// Tells the tracker. Without a session there is nobody to tell: a new one starts over.
    pub(crate) fn tell(&mut self, message: ClientMessage) {
        let Some(out) = &self.out else { return };
        match out.try_send(message) {
            Ok(()) => return,
            Err(TrySendError::Full(_)) => {
                tracing::warn!("the tracker's session does not drain; it is given up");
            }
            // Its end is about to be told.
            Err(TrySendError::Closed(_)) => {}
        }
        self.out = None;
    }

    /// Opens a link; false if it cannot be.
    pub(crate) fn open(&mut self, peer: PeerId, offer: bool) -> bool {
        let Some(links) = &mut self.links else { return false };
        match links.open(peer, offer) {
            Ok(()) => {
                self.opening.insert(peer);
                true
            }
            Err(error) => {
                tracing::debug!(%peer, %error, "no link");
                false
            }
        }
    }

    /// What another peer said by way of the tracker.
    pub(crate) fn signal(&mut self, peer: PeerId, signal: Signal) {
        if let Some(links) = &mut self.links {
            links.signal(peer, signal);
        }
    }

    /// Closes a link.
    pub(crate) fn close(&mut self, peer: PeerId) {
        self.opening.remove(&peer);
        if let Some(links) = &mut self.links {
            links.close(peer);
        }
    }

    /// Sends to a neighbour.
    pub(crate) fn send(&mut self, peer: PeerId, message: &PeerMessage) {
        let message = self.corruptor.pass(message.encode());
        if let Some(links) = &mut self.links
            && let Err(error) = links.send(peer, message)
        {
            tracing::debug!(%peer, %error, "message not sent");
        }
    }

    /// Waits for news of a link; for ever while there are none.
    pub(crate) async fn next_event(&mut self) -> LinkEvent {
        match &mut self.links {
            Some(links) => links.next_event().await,
            None => std::future::pending().await,
        }
    }

    /// A link is open, or gone.
    pub(crate) fn settled(&mut self, peer: PeerId) {
        self.opening.remove(&peer);
    }

    /// Links that are not open yet.
    pub(crate) fn opening(&self) -> impl Iterator<Item = PeerId> {
        self.opening.iter().copied()
    }

    /// Says goodbye to `neighbours` and to the tracker, and hangs up.
    pub(crate) fn leave(&mut self, neighbours: impl Iterator<Item = PeerId>) {
        for peer in neighbours {
            self.send(peer, &PeerMessage::Bye);
        }
        self.tell(ClientMessage::Bye);
        self.out = None;
        self.links = None;
    }
}

fn ice_servers(servers: &[WireIceServer]) -> Vec<IceServer> {
    let server = |server: &WireIceServer| IceServer {
        urls: server.urls.clone(),
        username: server.username.clone().unwrap_or_default(),
        credential: server.credential.clone().unwrap_or_default(),
    };
    servers.iter().map(server).collect()
}
