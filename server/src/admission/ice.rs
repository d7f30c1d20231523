//! The ICE servers that viewers are given: this server's own STUN, others' STUN, and TURN with
//! credentials that soon are worth nothing.
//!
//! Rule: where nothing is configured, none are given; on one machine and in one network viewers
//! meet without.

use super::Bearer;
use crate::config::Config;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use jsonwebtoken::get_current_timestamp;
use ring::hmac;
use shoal_wire::tracker_message::IceServer;
use std::fmt;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

/// The ICE servers of one viewer: made anew each time, since passwords end.
#[derive(Clone)]
pub(crate) struct ViewersIce {
    ice: Arc<Ice>,
    /// Under which the viewer found this server.
    host: Box<str>,
    bearer: Bearer,
}

impl ViewersIce {
    /// All of them, with passwords that hold from now on.
    pub(crate) fn servers(&self) -> Vec<IceServer> {
        self.ice.servers(&self.host, self.bearer)
    }

    /// After which time to give them again: while the passwords still hold for as long once more.
    pub(crate) fn renew_after(&self) -> Duration {
        if self.ice.turn_urls.is_empty() { NEVER } else { self.ice.turn_lifetime / 2 }
    }
}

impl fmt::Debug for ViewersIce {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ViewersIce(…)")
    }
}

/// Longer than any session: a year.
const NEVER: Duration = Duration::from_secs(365 * 24 * 3600);

/// What is configured.
pub(super) struct Ice {
    /// The name under which viewers reach this server's STUN; none is that of their request.
    stun_host: Option<String>,
    stun_ports: Vec<u16>,
    others: Vec<String>,
    turn_urls: Vec<String>,
    turn_key: hmac::Key,
    turn_lifetime: Duration,
}

impl Ice {
    /// With STUN on `stun`.
    pub(super) fn new(config: &Config, stun: &[SocketAddr]) -> Self {
        let host = &config.stun.host;
        let secret = config.turn.secret.expose().as_bytes();
        Self {
            stun_host: (!host.is_empty()).then(|| host.clone()),
            stun_ports: stun.iter().map(SocketAddr::port).collect(),
            others: config.tracker.ice_servers.clone(),
            turn_urls: config.turn.urls.clone(),
            turn_key: hmac::Key::new(hmac::HMAC_SHA1_FOR_LEGACY_USE_ONLY, secret),
            turn_lifetime: config.turn.lifetime_ms.0,
        }
    }

    /// For a viewer whose request went to `host`.
    pub(super) fn of(self: &Arc<Self>, host: &str, bearer: Bearer) -> ViewersIce {
        ViewersIce { ice: Arc::clone(self), host: host.into(), bearer }
    }

    fn servers(&self, host: &str, bearer: Bearer) -> Vec<IceServer> {
        let host = self.stun_host.as_deref().unwrap_or(host);
        let own = self.stun_ports.iter().filter(|_| !host.is_empty());
        let own = own.map(|port| format!("stun:{host}:{port}"));
        let plain = own.chain(self.others.iter().cloned()).map(|url| IceServer {
            urls: vec![url],
            username: None,
            credential: None,
        });
        plain.chain(self.turn(bearer, get_current_timestamp())).collect()
    }

    /// As coturn's `use-auth-secret` has it: the name is when it ends, the password a tag over it.
    fn turn(&self, bearer: Bearer, now_unix_s: u64) -> Option<IceServer> {
        if self.turn_urls.is_empty() {
            return None;
        }
        let ends = now_unix_s + self.turn_lifetime.as_secs();
        let username = format!("{ends}:{bearer}");
        let tag = hmac::sign(&self.turn_key, username.as_bytes());
        Some(IceServer {
            urls: self.turn_urls.clone(),
            username: Some(username),
            credential: Some(STANDARD.encode(tag)),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ice(more: &str, stun: &[SocketAddr]) -> Ice {
        Ice::new(&Config::from_toml(more).unwrap(), stun)
    }

    #[test]
    fn nothing_configured_is_nothing_given() {
        assert!(ice("", &[]).servers("media.example", Bearer::new("a", "b")).is_empty());
    }

    #[test]
    fn stun_is_where_the_viewer_found_the_server() {
        let stun = [3478, 3479].map(|port| SocketAddr::from(([0, 0, 0, 0], port)));
        let urls = |more: &str, host: &str| {
            let servers = ice(more, &stun).servers(host, Bearer::new("a", "b"));
            servers.into_iter().flat_map(|server| server.urls).collect::<Vec<_>>()
        };
        let both = ["stun:media.example:3478", "stun:media.example:3479"];
        assert_eq!(urls("", "media.example"), both);
        assert_eq!(urls("stun.host = 'media.example'", "proxy.example"), both);
        assert!(urls("", "").is_empty());
    }

    #[test]
    fn turn_credentials_are_those_that_coturn_computes() {
        // printf 1700003600:00000000000000ab | openssl dgst -sha1 -hmac north -binary | base64
        let config =
            "turn.urls = ['turn:t.example']\nturn.secret = 'north'\nturn.lifetime_ms = 3600000";
        let server = ice(config, &[]).turn(Bearer(0xab), 1_700_000_000).unwrap();
        assert_eq!(server.username.as_deref(), Some("1700003600:00000000000000ab"));
        assert_eq!(server.credential.as_deref(), Some("g51kCUalFQ+9eFcceYA/BQqMaTs="));
    }
}
