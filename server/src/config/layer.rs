//! One layer of the configuration: the flags with the environment, a file, or the defaults.
//!
//! Rule: each key is named once, here, and its default and its manual once, in `shoal.toml`. In a
//! layer every key may be absent; the first layer that has it gives its value.

use super::access::{
    BasePath, Hidden, Jwks, OptionalPublicKey, OptionalSecret, OptionalUrl, Play, Proxy, WebOrigin,
};
use super::value::{
    Bytes, Count, Listen, LogFormat, Mib, Millis, OptionalDvr, OptionalPath, Percent, StreamConfig,
};
use crate::upstream::{
    AllowedHost, Fetch, OperatorQuery, OptionalHeader, PathPattern, Preset, QueryKey, UpstreamUrl,
};
use serde::Deserialize;
use std::path::PathBuf;

/// Declares a section: its layer, in which each key may be absent, and itself, complete.
macro_rules! section {
    ($(#[$about:meta])* $layer:ident => $section:ident {
        $($(#[doc = $doc:literal])* $(#[arg($($arg:tt)*)])* $key:ident: $value:ty,)*
    }) => {
        $(#[$about])*
        #[derive(Clone, Debug, PartialEq, Eq)]
        pub struct $section { $($(#[doc = $doc])* pub $key: $value,)* }

        #[derive(Clone, Debug, Default, Deserialize, clap::Args)]
        #[serde(default, deny_unknown_fields)]
        pub(crate) struct $layer {
            $($(#[doc = $doc])* $(#[arg($($arg)*)])* pub(crate) $key: Option<$value>,)*
        }

        impl $layer {
            fn or(self, under: Self) -> Self {
                Self { $($key: self.$key.or(under.$key),)* }
            }

            fn complete(self) -> $section {
                $section { $($key: self.$key.expect("shoal.toml sets every key"),)* }
            }
        }
    };
}

section! {
    /// Listeners, files and life of the process.
    ServerLayer => ServerConfig {
        /// Address for viewers and encoders.
        #[arg(long, env = "SHOAL_SERVER_LISTEN", value_name = "IP:PORT")]
        listen: Listen,
        /// Address for encoders alone.
        #[arg(long, env = "SHOAL_SERVER_INGEST_LISTEN", value_name = "IP:PORT")]
        ingest_listen: Listen,
        /// Address of a second origin whose bytes are counted apart.
        #[arg(long, env = "SHOAL_SERVER_MIRROR_LISTEN", value_name = "IP:PORT")]
        mirror_listen: Listen,
        /// Address for /metrics, /healthz, /readyz and /status.
        #[arg(long, env = "SHOAL_SERVER_ADMIN_LISTEN", value_name = "IP:PORT")]
        admin_listen: Listen,
        /// Certificate and its chain, as a PEM file: `listen` and `ingest_listen` speak TLS.
        #[arg(long, env = "SHOAL_SERVER_TLS_CERTIFICATE", value_name = "FILE")]
        tls_certificate: OptionalPath,
        /// The certificate's key, as a PEM file.
        #[arg(long, env = "SHOAL_SERVER_TLS_KEY", value_name = "FILE")]
        tls_key: OptionalPath,
        /// Directory of segments, state and the signing key.
        #[arg(long, env = "SHOAL_SERVER_DATA_DIR", value_name = "DIR")]
        data_dir: PathBuf,
        /// File to write the addresses in use to, as JSON.
        #[arg(long, env = "SHOAL_SERVER_PORTS_FILE", value_name = "FILE")]
        ports_file: OptionalPath,
        /// Most connections at once on one listener.
        #[arg(long, env = "SHOAL_SERVER_CONNECTIONS_MAX", value_name = "N")]
        connections_max: Count,
        /// What is logged: error, warn, info, debug, trace.
        #[arg(long, env = "SHOAL_SERVER_LOG", value_name = "LEVEL")]
        log: String,
        /// How the log is written: text or json.
        #[arg(long, env = "SHOAL_SERVER_LOG_FORMAT", value_name = "FORMAT")]
        log_format: LogFormat,
        /// Time to be seen as not ready before a stop.
        #[arg(long, env = "SHOAL_SERVER_DRAIN_MS", value_name = "MS")]
        drain_ms: u64,
        /// Time for open requests to end at shutdown.
        #[arg(long, env = "SHOAL_SERVER_SHUTDOWN_GRACE_MS", value_name = "MS")]
        shutdown_grace_ms: Millis,
        /// Time for the head of a connection's first request.
        #[arg(long, env = "SHOAL_SERVER_HEAD_TIMEOUT_MS", value_name = "MS")]
        head_timeout_ms: Millis,
        /// Where on its site the server is, behind a reverse proxy.
        #[arg(long, env = "SHOAL_SERVER_BASE_PATH", value_name = "PATH")]
        base_path: BasePath,
        /// A proxy that is believed who its clients are (repeatable).
        #[arg(long = "trusted-proxy", env = "SHOAL_SERVER_TRUSTED_PROXIES", value_name = "NET")]
        #[arg(value_delimiter = ',')]
        trusted_proxies: Vec<Proxy>,
    }
}

section! {
    /// Who may come in.
    AuthLayer => AuthConfig {
        /// Secret of tokens that are signed with HS256.
        #[arg(long = "auth-secret", env = "SHOAL_AUTH_SECRET", value_name = "SECRET")]
        #[arg(hide_env_values = true)]
        secret: OptionalSecret,
        /// File with the same.
        #[arg(long = "auth-secret-file", env = "SHOAL_AUTH_SECRET_FILE", value_name = "FILE")]
        secret_file: OptionalPath,
        /// Ed25519 key of tokens that are signed with EdDSA.
        #[arg(long = "auth-public-key", env = "SHOAL_AUTH_PUBLIC_KEY", value_name = "KEY")]
        public_key: OptionalPublicKey,
        /// Key set: a URL or a file.
        #[arg(long = "auth-jwks", env = "SHOAL_AUTH_JWKS", value_name = "URL|FILE")]
        jwks: Jwks,
        /// Time between two looks at the key set.
        #[arg(long = "auth-jwks-refresh-ms", env = "SHOAL_AUTH_JWKS_REFRESH_MS")]
        #[arg(value_name = "MS")]
        jwks_refresh_ms: Millis,
        /// Who may fetch playlists and segments: open or token.
        #[arg(long = "auth-play", env = "SHOAL_AUTH_PLAY", value_name = "WHO")]
        play: Play,
        /// How long tokens of the server's own last.
        #[arg(long = "auth-token-lifetime-ms", env = "SHOAL_AUTH_TOKEN_LIFETIME_MS")]
        #[arg(value_name = "MS")]
        token_lifetime_ms: Millis,
        /// A web origin whose pages may play (repeatable).
        #[arg(long = "auth-web-origin", env = "SHOAL_AUTH_WEB_ORIGINS", value_name = "ORIGIN")]
        #[arg(value_delimiter = ',')]
        web_origins: Vec<WebOrigin>,
        /// Service that is asked whether somebody may publish or play.
        #[arg(long = "auth-hook", env = "SHOAL_AUTH_HOOK", value_name = "URL")]
        hook: OptionalUrl,
        /// Time for its answer.
        #[arg(long = "auth-hook-timeout-ms", env = "SHOAL_AUTH_HOOK_TIMEOUT_MS")]
        #[arg(value_name = "MS")]
        hook_timeout_ms: Millis,
        /// How long its answer counts.
        #[arg(long = "auth-hook-cache-ms", env = "SHOAL_AUTH_HOOK_CACHE_MS", value_name = "MS")]
        hook_cache_ms: Millis,
    }
}

section! {
    /// What encoders may do.
    IngestLayer => IngestConfig {
        /// Largest body, in MiB.
        #[arg(long = "ingest-body-mib-max", env = "SHOAL_INGEST_BODY_MIB_MAX", value_name = "MIB")]
        body_mib_max: Mib,
        /// Most uploads at once.
        #[arg(long = "ingest-uploads-max", env = "SHOAL_INGEST_UPLOADS_MAX", value_name = "N")]
        uploads_max: Count,
        /// An upload that stands still for so long is dropped.
        #[arg(long = "ingest-idle-timeout-ms", env = "SHOAL_INGEST_IDLE_TIMEOUT_MS", value_name = "MS")]
        idle_timeout_ms: Millis,
        /// Least bytes per second of an upload that takes longer than that.
        #[arg(long = "ingest-bytes-per-second-min", env = "SHOAL_INGEST_BYTES_PER_SECOND_MIN")]
        #[arg(value_name = "N")]
        bytes_per_second_min: Count,
    }
}

section! {
    /// What is kept and shown.
    OriginLayer => OriginConfig {
        /// Segments kept per rendition.
        #[arg(long, env = "SHOAL_ORIGIN_KEEP_SEGMENTS", value_name = "N")]
        keep_segments: Count,
        /// Segments in a live playlist; 0 is as many as the encoder's.
        #[arg(long, env = "SHOAL_ORIGIN_PLAYLIST_SEGMENTS", value_name = "N")]
        playlist_segments: usize,
        /// Bytes of a stream's newest segments kept in memory, in MiB.
        #[arg(long, env = "SHOAL_ORIGIN_CACHE_MIB_MAX", value_name = "MIB")]
        cache_mib_max: Mib,
        /// Most renditions in a stream.
        #[arg(long, env = "SHOAL_ORIGIN_RENDITIONS_MAX", value_name = "N")]
        renditions_max: Count,
        /// How far back viewers of a live stream may go.
        #[arg(long, env = "SHOAL_ORIGIN_DVR_WINDOW", value_name = "DURATION")]
        dvr_window: OptionalDvr,
        /// Most bytes of segments on disk per stream with a dvr_window.
        #[arg(long, env = "SHOAL_ORIGIN_DVR_BYTES_MAX", value_name = "SIZE")]
        dvr_bytes_max: Bytes,
        /// What low-latency parts last, in milliseconds.
        #[arg(long, env = "SHOAL_ORIGIN_PART_TARGET_MS", value_name = "MS")]
        part_target_ms: Millis,
        /// Directory of what is served on demand, one sub-folder each.
        #[arg(long = "vod", env = "SHOAL_ORIGIN_VOD_DIR", value_name = "DIR")]
        vod_dir: OptionalPath,
    }
}

section! {
    /// Existing origins and CDNs that this server stands before.
    UpstreamLayer => UpstreamConfig {
        /// An existing origin or CDN to stand before (repeatable).
        #[arg(long = "upstream", env = "SHOAL_UPSTREAM_URLS", value_name = "[NAME=]URL")]
        #[arg(value_delimiter = ',')]
        urls: Vec<UpstreamUrl>,
        /// Where viewers fetch segments: cdn or server.
        #[arg(long = "upstream-fetch", env = "SHOAL_UPSTREAM_FETCH", value_name = "WHERE")]
        fetch: Fetch,
        /// Another host that the upstream's playlists may name (repeatable).
        #[arg(long = "upstream-host", env = "SHOAL_UPSTREAM_HOSTS", value_name = "HOST[:PORT]")]
        #[arg(value_delimiter = ',')]
        hosts: Vec<AllowedHost>,
        /// Whether names may lead into a private network.
        #[arg(long = "upstream-private-addresses", env = "SHOAL_UPSTREAM_PRIVATE_ADDRESSES")]
        #[arg(value_name = "BOOL")]
        #[arg(num_args = 0..=1, require_equals = true, default_missing_value = "true")]
        private_addresses: bool,
        /// A signer whose tokens are ignored (repeatable).
        #[arg(long = "upstream-preset", env = "SHOAL_UPSTREAM_PRESETS", value_name = "SIGNER")]
        #[arg(value_delimiter = ',')]
        presets: Vec<Preset>,
        /// A query key that is a viewer's own (repeatable).
        #[arg(long = "upstream-ignore-query", env = "SHOAL_UPSTREAM_IGNORE_QUERY")]
        #[arg(value_name = "KEY", value_delimiter = ',')]
        ignore_query: Vec<QueryKey>,
        /// A path in which `{}` stands for what is a viewer's own (repeatable).
        #[arg(long = "upstream-ignore-path", env = "SHOAL_UPSTREAM_IGNORE_PATH")]
        #[arg(value_name = "PATTERN", value_delimiter = ',')]
        ignore_path: Vec<PathPattern>,
        /// Query of the server's own requests, in place of a viewer's tokens.
        #[arg(long = "upstream-operator-query", env = "SHOAL_UPSTREAM_OPERATOR_QUERY")]
        #[arg(value_name = "QUERY")]
        operator_query: OperatorQuery,
        /// Header of the server's own requests, in place of a viewer's tokens.
        #[arg(long = "upstream-operator-header", env = "SHOAL_UPSTREAM_OPERATOR_HEADER")]
        #[arg(value_name = "NAME: VALUE")]
        operator_header: OptionalHeader,
        /// Largest segment of an upstream, in MiB.
        #[arg(long = "upstream-segment-mib-max", env = "SHOAL_UPSTREAM_SEGMENT_MIB_MAX")]
        #[arg(value_name = "MIB")]
        segment_mib_max: Mib,
        /// Time for an upstream's whole answer.
        #[arg(long = "upstream-timeout-ms", env = "SHOAL_UPSTREAM_TIMEOUT_MS", value_name = "MS")]
        timeout_ms: Millis,
    }
}

section! {
    /// Sessions of viewers.
    TrackerLayer => TrackerConfig {
        /// Most viewers on this server.
        #[arg(long, env = "SHOAL_TRACKER_PEERS_MAX", value_name = "N")]
        peers_max: Count,
        /// Time for a session to say hello.
        #[arg(long, env = "SHOAL_TRACKER_HELLO_TIMEOUT_MS", value_name = "MS")]
        hello_timeout_ms: Millis,
        /// Time between pings of an idle session.
        #[arg(long, env = "SHOAL_TRACKER_PING_INTERVAL_MS", value_name = "MS")]
        ping_interval_ms: Millis,
        /// Time between a viewer's reports.
        #[arg(long, env = "SHOAL_TRACKER_REPORT_INTERVAL_MS", value_name = "MS")]
        report_interval_ms: Millis,
        /// Most messages that wait for one slow viewer.
        #[arg(long, env = "SHOAL_TRACKER_QUEUE_MESSAGES_MAX", value_name = "N")]
        queue_messages_max: Count,
        /// Most messages per second from one viewer.
        #[arg(long, env = "SHOAL_TRACKER_MESSAGES_PER_SECOND_MAX", value_name = "N")]
        messages_per_second_max: Count,
        /// Most joins per minute with one token.
        #[arg(long, env = "SHOAL_TRACKER_JOINS_PER_MINUTE_MAX", value_name = "N")]
        joins_per_minute_max: Count,
        /// Most attempts to join per minute from one address.
        #[arg(long, env = "SHOAL_TRACKER_JOINS_PER_ADDRESS_MAX", value_name = "N")]
        joins_per_address_max: Count,
        /// Most sessions at once with one token.
        #[arg(long, env = "SHOAL_TRACKER_SESSIONS_PER_TOKEN_MAX", value_name = "N")]
        sessions_per_token_max: Count,
        /// Most sockets that have not said hello.
        #[arg(long, env = "SHOAL_TRACKER_UNJOINED_MAX", value_name = "N")]
        unjoined_max: Count,
        /// Most peers' addresses given to one token in an hour.
        #[arg(long, env = "SHOAL_TRACKER_INTRODUCTIONS_PER_HOUR_MAX", value_name = "N")]
        introductions_per_hour_max: Count,
        /// STUN server for viewers, as a URL (repeatable).
        #[arg(long = "ice-server", env = "SHOAL_TRACKER_ICE_SERVERS", value_name = "URL")]
        #[arg(value_delimiter = ',')]
        ice_servers: Vec<String>,
    }
}

section! {
    /// Viewers without peers, to compare with.
    HoldoutLayer => HoldoutConfig {
        /// Viewers that get no peers, in percent.
        #[arg(long = "holdout-percent", env = "SHOAL_HOLDOUT_PERCENT", value_name = "PERCENT")]
        percent: Percent,
        /// Viewers in each group before anything is concluded.
        #[arg(long = "holdout-viewers-min", env = "SHOAL_HOLDOUT_VIEWERS_MIN", value_name = "N")]
        viewers_min: Count,
        /// Stall time that peers may add, in thousandths of the time.
        #[arg(long = "holdout-stall-permille-max", env = "SHOAL_HOLDOUT_STALL_PERMILLE_MAX")]
        #[arg(value_name = "PERMILLE")]
        stall_permille_max: u32,
        /// Start-up time that peers may add.
        #[arg(long = "holdout-startup-ms-max", env = "SHOAL_HOLDOUT_STARTUP_MS_MAX")]
        #[arg(value_name = "MS")]
        startup_ms_max: u32,
        /// Whether a stream's peers are switched off where they harm.
        #[arg(long = "holdout-switch-off", env = "SHOAL_HOLDOUT_SWITCH_OFF", value_name = "BOOL")]
        #[arg(num_args = 0..=1, require_equals = true, default_missing_value = "true")]
        switch_off: bool,
    }
}

section! {
    /// The server's own STUN.
    StunLayer => StunConfig {
        /// UDP address for STUN (repeatable).
        #[arg(id = "stun_listen", long = "stun-listen", env = "SHOAL_STUN_LISTEN", value_name = "IP:PORT")]
        #[arg(value_delimiter = ',')]
        listen: Vec<Listen>,
        /// The name under which viewers reach it.
        #[arg(long = "stun-host", env = "SHOAL_STUN_HOST", value_name = "HOST")]
        host: String,
        /// Most requests per second from one address.
        #[arg(long = "stun-requests-per-second-max", env = "SHOAL_STUN_REQUESTS_PER_SECOND_MAX")]
        #[arg(value_name = "N")]
        requests_per_second_max: Count,
    }
}

section! {
    /// A TURN server for those who cannot reach each other.
    TurnLayer => TurnConfig {
        /// URL of a TURN server (repeatable).
        #[arg(id = "turn_urls", long = "turn-url", env = "SHOAL_TURN_URLS", value_name = "URL", value_delimiter = ',')]
        urls: Vec<String>,
        /// The secret that it shares with this server.
        #[arg(id = "turn_secret", long = "turn-secret", env = "SHOAL_TURN_SECRET", value_name = "SECRET")]
        #[arg(hide_env_values = true)]
        secret: Hidden,
        /// How long a viewer may use it.
        #[arg(long = "turn-lifetime-ms", env = "SHOAL_TURN_LIFETIME_MS", value_name = "MS")]
        lifetime_ms: Millis,
    }
}

section! {
    /// The built-in demo.
    DemoLayer => DemoConfig {
        /// Publish the stream `demo` from the bundled clip.
        #[arg(long = "demo-channel", env = "SHOAL_DEMO_CHANNEL", value_name = "BOOL")]
        #[arg(num_args = 0..=1, require_equals = true, default_missing_value = "true")]
        channel: bool,
    }
}

/// All sections of one layer.
#[derive(Clone, Debug, Default, Deserialize, clap::Args)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct Layer {
    #[command(flatten)]
    pub(crate) server: ServerLayer,
    #[command(flatten)]
    pub(crate) auth: AuthLayer,
    #[command(flatten)]
    pub(crate) ingest: IngestLayer,
    #[command(flatten)]
    pub(crate) origin: OriginLayer,
    #[command(flatten)]
    pub(crate) upstream: UpstreamLayer,
    #[command(flatten)]
    pub(crate) tracker: TrackerLayer,
    #[command(flatten)]
    pub(crate) holdout: HoldoutLayer,
    #[command(flatten)]
    pub(crate) stun: StunLayer,
    #[command(flatten)]
    pub(crate) turn: TurnLayer,
    #[command(flatten)]
    pub(crate) demo: DemoLayer,
    /// A stream that an encoder with this key may push (repeatable).
    #[arg(long = "stream", env = "SHOAL_STREAMS", value_name = "NAME=KEY", value_delimiter = ',')]
    pub(crate) streams: Option<Vec<StreamConfig>>,
}

impl Layer {
    pub(crate) fn or(self, under: Self) -> Self {
        Self {
            server: self.server.or(under.server),
            auth: self.auth.or(under.auth),
            ingest: self.ingest.or(under.ingest),
            origin: self.origin.or(under.origin),
            upstream: self.upstream.or(under.upstream),
            tracker: self.tracker.or(under.tracker),
            holdout: self.holdout.or(under.holdout),
            stun: self.stun.or(under.stun),
            turn: self.turn.or(under.turn),
            demo: self.demo.or(under.demo),
            streams: self.streams.or(under.streams),
        }
    }

    pub(super) fn complete(self) -> super::Config {
        super::Config {
            server: self.server.complete(),
            auth: self.auth.complete(),
            ingest: self.ingest.complete(),
            origin: self.origin.complete(),
            upstream: self.upstream.complete(),
            tracker: self.tracker.complete(),
            holdout: self.holdout.complete(),
            stun: self.stun.complete(),
            turn: self.turn.complete(),
            demo: self.demo.complete(),
            streams: self.streams.unwrap_or_default(),
        }
    }
}
