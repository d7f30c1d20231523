//! The configuration: flags over environment over file over the defaults in `shoal.toml`.
//!
//! Rule: a [`Config`] is complete and within its limits. What is wrong is said in one sentence that
//! names the key, where it stands and what to write instead.

mod access;
mod layer;
mod value;

pub use access::{
    BasePath, Hidden, Jwks, OptionalPublicKey, OptionalSecret, OptionalUrl, Play, Proxy, WebOrigin,
};
pub(crate) use layer::Layer;
pub use layer::{
    AuthConfig, DemoConfig, HoldoutConfig, IngestConfig, OriginConfig, ServerConfig, StunConfig,
    TrackerConfig, TurnConfig, UpstreamConfig,
};
pub use value::{
    Bytes, Count, DvrWindow, IngestKey, Listen, LogFormat, Mib, Millis, OptionalDvr, OptionalPath,
    Parts, Percent, StreamConfig,
};

use std::path::{Path, PathBuf};

/// The commented defaults.
pub const DEFAULTS: &str = include_str!("../shoal.toml");

/// Name of the stream that the demo channel publishes.
pub const DEMO_STREAM: &str = "demo";

/// Everything that the operator decides.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Config {
    /// Listeners, files and life of the process.
    pub server: ServerConfig,
    /// Who may come in.
    pub auth: AuthConfig,
    /// What encoders may do.
    pub ingest: IngestConfig,
    /// What is kept and shown.
    pub origin: OriginConfig,
    /// Existing origins and CDNs that this server stands before.
    pub upstream: UpstreamConfig,
    /// Sessions of viewers.
    pub tracker: TrackerConfig,
    /// Viewers without peers, to compare with.
    pub holdout: HoldoutConfig,
    /// The server's own STUN.
    pub stun: StunConfig,
    /// A TURN server for those who cannot reach each other.
    pub turn: TurnConfig,
    /// The built-in demo.
    pub demo: DemoConfig,
    /// The streams that encoders may push.
    pub streams: Vec<StreamConfig>,
}

/// A configuration that the operator has to change.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ConfigError {
    /// The file cannot be read.
    #[error("cannot read the configuration {}: {error}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// Why.
        error: std::io::Error,
    },
    /// The file is no TOML, or has an unknown key or a wrong value.
    #[error("{}, line {line}: {message}", path.display())]
    Parse {
        /// The file.
        path: PathBuf,
        /// Where in it, from 1.
        line: usize,
        /// What is wrong.
        message: String,
    },
    /// A value outside its limits.
    #[error("{key}: {message}")]
    Limit {
        /// The key.
        key: &'static str,
        /// What is wrong and what to write instead.
        message: String,
    },
}

impl Layer {
    /// The layer in `text`, which was read from `path`.
    pub(crate) fn from_toml(text: &str, path: &Path) -> Result<Self, ConfigError> {
        toml::from_str(text).map_err(|error| {
            let start = error.span().map_or(0, |span| span.start.min(text.len()));
            let line = 1 + text.as_bytes()[..start].iter().filter(|b| **b == b'\n').count();
            let message = error.message().trim().replace('\n', ", ");
            ConfigError::Parse { path: path.to_path_buf(), line, message }
        })
    }

    /// The layer in the file at `path`.
    pub(crate) fn from_file(path: &Path) -> Result<Self, ConfigError> {
        let text = std::fs::read_to_string(path)
            .map_err(|error| ConfigError::Read { path: path.to_path_buf(), error })?;
        Self::from_toml(&text, path)
    }
}

impl OriginConfig {
    /// How far back the viewers of `stream` may go, and its share of the disk.
    pub(crate) fn dvr(&self, stream: &StreamConfig) -> Option<(DvrWindow, Bytes)> {
        let window = stream.dvr_window.unwrap_or(self.dvr_window).0?;
        Some((window, stream.dvr_bytes_max.unwrap_or(self.dvr_bytes_max)))
    }
}

impl AuthConfig {
    /// Whether anybody but the server itself says who may come in.
    fn has_keys(&self) -> bool {
        self.secret.0.is_some()
            || self.secret_file.0.is_some()
            || self.public_key.0.is_some()
            || self.jwks != Jwks::None
            || self.hook.0.is_some()
    }
}

impl Config {
    /// From TOML text alone, over the defaults.
    ///
    /// # Errors
    /// [`ConfigError`] says what to change.
    pub fn from_toml(text: &str) -> Result<Self, ConfigError> {
        Self::from_layer(Layer::from_toml(text, Path::new("(text)"))?)
    }

    /// From a layer over the defaults.
    pub(crate) fn from_layer(layer: Layer) -> Result<Self, ConfigError> {
        let defaults = Layer::from_toml(DEFAULTS, Path::new("shoal.toml"))?;
        let config = layer.or(defaults).complete();
        config.check()?;
        Ok(config)
    }

    fn check(&self) -> Result<(), ConfigError> {
        let limit = |key, message| Err(ConfigError::Limit { key, message });
        if self.server.listen.0.is_none() {
            return limit("server.listen", "may not be empty: set it with --listen IP:PORT".into());
        }
        if self.server.tls_certificate.0.is_some() != self.server.tls_key.0.is_some() {
            let message = "a certificate and its key go together: set both tls_certificate and \
                           tls_key, or neither";
            return limit("server.tls_key", message.into());
        }
        let object_mib_max = shoal_wire::OBJECT_BYTES_MAX >> 20;
        if self.ingest.body_mib_max.mib() > object_mib_max {
            let message = format!("a digest describes at most {object_mib_max} MiB; set it lower");
            return limit("ingest.body_mib_max", message);
        }
        let (keep, show) = (self.origin.keep_segments.0, self.origin.playlist_segments);
        if keep < 4 {
            return limit("origin.keep_segments", "a live playlist needs at least 4".into());
        }
        if show > keep / 2 {
            let message = format!("{show} is more than half of keep_segments, which is {keep}");
            return limit("origin.playlist_segments", message);
        }
        if self.upstream.segment_mib_max.mib() > object_mib_max {
            let message = format!("a digest describes at most {object_mib_max} MiB; set it lower");
            return limit("upstream.segment_mib_max", message);
        }
        if self.auth.play == Play::Token && !self.auth.has_keys() {
            let message = "`token` needs a key: set auth.secret, auth.public_key, auth.jwks or \
                           auth.hook";
            return limit("auth.play", message.into());
        }
        if !self.turn.urls.is_empty() && self.turn.secret.expose().is_empty() {
            let message = "set it to the static-auth-secret of the TURN server in turn.urls";
            return limit("turn.secret", message.into());
        }
        for (i, upstream) in self.upstream.urls.iter().enumerate() {
            let name = &upstream.name;
            if self.upstream.urls[..i].iter().any(|other| other.name == *name) {
                return limit("upstream.urls", format!("`{name}` is named twice: write NAME=URL"));
            }
            let pushed = self.streams.iter().any(|stream| stream.name == *name);
            if pushed || self.demo.channel && name.as_str() == DEMO_STREAM {
                return limit("upstream.urls", format!("`{name}` is another stream's name"));
            }
        }
        for (i, stream) in self.streams.iter().enumerate() {
            let name = &stream.name;
            if self.streams[..i].iter().any(|other| other.name == *name) {
                return limit("streams", format!("`{name}` is named twice"));
            }
            if self.demo.channel && name.as_str() == DEMO_STREAM {
                let message = format!("`{name}` is the demo channel's: choose another name");
                return limit("streams", message);
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn error(text: &str) -> String {
        Config::from_toml(text).unwrap_err().to_string()
    }

    #[test]
    fn the_defaults_are_complete_and_valid() {
        let config = Config::from_toml("").unwrap();
        assert_eq!(config.ingest.body_mib_max.mib(), 64);
        assert_eq!(config.server.ingest_listen, Listen(None));
    }

    #[test]
    fn unknown_keys_are_errors_that_name_the_key_and_the_line() {
        let message = error("[server]\nlisten = \"127.0.0.1:0\"\nlisen = 1\n");
        assert!(message.contains("line 3") && message.contains("lisen"), "{message}");
        let message = error("[sever]\n");
        assert!(message.contains("line 1") && message.contains("sever"), "{message}");
        let message = error("\n[[streams]]\nname = \"a\"\ningest_key = \"b\"\nkey = 1\n");
        assert!(message.contains("line 5") && message.contains("`key`"), "{message}");
    }

    #[test]
    fn a_stream_may_have_a_window_of_its_own() {
        let config = Config::from_toml(
            "origin.dvr_window = \"1h\"\nstreams = [{name = \"a\", ingest_key = \"1\"}, \
             {name = \"b\", ingest_key = \"1\", dvr_window = \"\"}, \
             {name = \"c\", ingest_key = \"1\", dvr_window = \"unlimited\", dvr_bytes_max = 9}]",
        )
        .unwrap();
        let dvr: Vec<_> = config.streams.iter().map(|it| config.origin.dvr(it)).collect();
        let hour = DvrWindow::Last(std::time::Duration::from_secs(3600));
        let usual = Bytes(20 << 30);
        assert_eq!(dvr, [Some((hour, usual)), None, Some((DvrWindow::Unlimited, Bytes(9)))]);
    }

    #[test]
    fn wrong_values_say_what_to_write() {
        for (text, says) in [
            ("[server]\nlisten = \"8080\"", "IP:PORT"),
            ("[server]\ntls_certificate = \"a.pem\"", "tls_key"),
            ("[holdout]\npercent = 101", "from 0 to 100"),
            ("[server]\nlog_format = \"xml\"", "`json`"),
            ("[ingest]\nbody_mib_max = 65", "at most 64"),
            ("[ingest]\nidle_timeout_ms = 0", "above 0"),
            ("[origin]\nkeep_segments = 10\nplaylist_segments = 6", "half of keep_segments"),
            ("[upstream]\nurls = ['ftp://h/']", "neither http nor https"),
            ("[upstream]\nurls = ['a=http://h/', 'a=http://g/']", "twice"),
            ("upstream.urls = ['a=http://h/']\nstreams = [{name='a',ingest_key='k'}]", "another"),
            ("[upstream]\npresets = ['akami']", "akamai"),
            ("[upstream]\nhosts = ['http://h']", "no host"),
            ("[upstream]\nfetch = 'peers'", "`cdn`"),
            ("[upstream]\nsegment_mib_max = 65", "at most 64"),
            ("[[streams]]\nname = \"a b\"\ningest_key = \"k\"", "stream name"),
            ("[[streams]]\nname = \"a\"\ningest_key = \"k/k\"", "ingest key"),
            (
                "streams = [{name = \"a\", ingest_key = \"1\"}, {name = \"a\", ingest_key = \"2\"}]",
                "twice",
            ),
            (
                "streams = [{name = \"demo\", ingest_key = \"1\"}]\ndemo.channel = true",
                "demo channel",
            ),
            ("[server]\nlisten = ", "line"),
            ("[server]\nbase_path = 'shoal'", "/shoal"),
            ("[server]\ntrusted_proxies = ['nginx']", "10.0.0.0/8"),
            ("turn.urls = ['turn:t']", "static-auth-secret"),
            ("[auth]\nsecret = 'short'", "32 characters"),
            ("[auth]\nplay = 'token'", "auth.secret"),
            ("[auth]\nplay = 'all'", "`open`"),
            ("[auth]\nhook = 'localhost'", "http://"),
            ("[origin]\ndvr_window = \"2\"", "90min"),
            ("streams = [{name = \"a\", ingest_key = \"1\", parts = \"no\"}]", "`origin`"),
            ("streams = [{name = \"a\", ingest_key = \"1\", dvr_bytes_max = \"1 GB\"}]", "GiB"),
        ] {
            let message = error(text);
            assert!(message.contains(says), "{text}: {message}");
        }
    }
}
