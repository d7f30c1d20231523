//! The agent as a whole: the proxy, its streams and its origin client, started and stopped.
//!
//! Rule: nothing is global; several agents may run in one process, and tests do that. It parses
//! no flag and prints nothing.

use crate::origin::OriginClient;
use crate::proxy::{self, Guard};
use crate::site::{Site, local_path};
use crate::status::{self, AgentStatus};
use crate::stream::{Settings, Streams};
use crate::tls::Tls;
use crate::token::{InvalidToken, Token, Tokens};
use crate::{process, random};
use shoal_wire::{BitRate, ShareMode};
use std::net::SocketAddr;
use std::num::NonZeroU32;
use std::sync::Arc;
use tokio::net::TcpListener;
use tokio::sync::oneshot;
use tokio::task::JoinHandle;
use url::Url;

/// What an agent is started with.
#[derive(Clone, Debug)]
pub struct Options {
    /// Where the proxy listens: a loopback address; port 0 is any free one.
    pub listen: SocketAddr,
    /// The origins that it serves.
    pub sites: Vec<Site>,
    /// What the viewer allows.
    pub share: ShareMode,
    /// The viewer's cap on upload.
    pub upload_cap: Option<BitRate>,
    /// The viewer's token, shown to the origins and their trackers.
    pub token: Option<Token>,
    /// Flip bytes in every N-th chunk message that is sent: for tests of those who receive them.
    /// The command line has it only with the feature `fault-injection`.
    pub corrupt_every: Option<NonZeroU32>,
}

/// Why an agent could not be started. Each sentence says what to change.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// Another machine could reach the proxy.
    #[error(
        "{0} is not a loopback address; the proxy is for players on this machine: \
         listen on 127.0.0.1:PORT or [::1]:PORT"
    )]
    NotLoopback(SocketAddr),
    /// The address is taken, or not ours.
    #[error(
        "cannot listen on {address}: {error}; \
         choose another with --listen 127.0.0.1:PORT (port 0 is any free one)"
    )]
    Listen {
        /// Where.
        address: SocketAddr,
        /// What the system says.
        error: std::io::Error,
    },
    /// An origin is to be asked over TLS, which cannot be.
    #[error("an https origin cannot be used: {0}")]
    Tls(String),
    /// There is no token, or it cannot be sent.
    #[error(transparent)]
    Token(#[from] InvalidToken),
    /// The HTTP client could not be made.
    #[error("no HTTP client: {0}")]
    Client(#[from] reqwest::Error),
}

/// What the proxy's handlers share.
#[derive(Debug)]
pub(crate) struct Agent {
    pub(crate) guard: Guard,
    pub(crate) streams: Arc<Streams>,
    pub(crate) origin: OriginClient,
    local: SocketAddr,
}

impl Agent {
    /// Figures of everything.
    pub(crate) async fn status(&self) -> AgentStatus {
        AgentStatus {
            version: env!("CARGO_PKG_VERSION"),
            pid: std::process::id(),
            rss_bytes: process::rss_bytes(),
            cpu_seconds: process::cpu_seconds(),
            streams: self.streams.status().await,
        }
    }

    /// What a person sees who opens the proxy's address.
    pub(crate) fn home(&self) -> String {
        use std::fmt::Write;
        let local = self.local;
        let mut text = format!(
            "shoal-agent {}\n\nPlay http://{local}/http/HOST:PORT/… in any player; served are:\n",
            env!("CARGO_PKG_VERSION")
        );
        for site in self.guard.sites() {
            writeln!(text, "  {site}").expect("strings take all");
        }
        text.push_str("\nSee /status (JSON), /metrics (Prometheus), /healthz.\n");
        text
    }
}

/// A started agent.
#[derive(Debug)]
pub struct Running {
    agent: Arc<Agent>,
    page_prefix: String,
    stop: oneshot::Sender<()>,
    server: JoinHandle<std::io::Result<()>>,
}

impl Running {
    /// Starts an agent. It serves when this returns.
    ///
    /// # Errors
    /// [`StartError`] says what to change.
    pub async fn start(options: Options) -> Result<Self, StartError> {
        let Options { listen, sites, share, upload_cap, token, corrupt_every } = options;
        let tokens = Tokens::new(token)?;
        if !listen.ip().is_loopback() {
            return Err(StartError::NotLoopback(listen));
        }
        let failed = |error| StartError::Listen { address: listen, error };
        let listener = TcpListener::bind(listen).await.map_err(failed)?;
        let local = listener.local_addr().map_err(failed)?;
        let tls = Tls::new(sites.iter().any(Site::is_secure)).map_err(StartError::Tls)?;
        let origin = OriginClient::new(sites.as_slice().into(), &tls, tokens.clone())?;
        let secret = random::secret();
        let settings = Settings { share, upload_cap, corrupt_every };
        let agent = Arc::new(Agent {
            guard: Guard::new(local.port(), &secret, sites),
            streams: Streams::new(settings, origin.clone(), tls, tokens),
            origin,
            local,
        });
        let (stop, stopped) = oneshot::channel();
        let serving = proxy::serve(listener, Arc::clone(&agent), async {
            // A dropped handle stops it as well.
            let _ = stopped.await;
        });
        let server = tokio::spawn(serving);
        Ok(Self { agent, page_prefix: format!("/s/{secret}"), stop, server })
    }

    /// Where the proxy listens.
    pub fn address(&self) -> SocketAddr {
        self.agent.local
    }

    /// The URL to give to a player instead of `url`.
    pub fn local_url(&self, url: &Url) -> String {
        format!("http://{}{}", self.agent.local, local_path(url))
    }

    /// What stands before `/http/…` in URLs for web pages.
    pub fn page_prefix(&self) -> &str {
        &self.page_prefix
    }

    /// The line that a terminal shows.
    pub async fn status_line(&self) -> String {
        status::line(&self.agent.streams.status().await)
    }

    /// Says goodbye to trackers and peers, and ends.
    pub async fn stop(self) {
        self.agent.streams.leave().await;
        // The server may have ended by itself.
        let _ = self.stop.send(());
        let _ = self.server.await;
    }
}
