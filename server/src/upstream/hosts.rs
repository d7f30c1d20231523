//! Where the server may go for an upstream: names first, addresses after they are looked up.
//!
//! Rule: only hosts that the operator named, and none of them inside the operator's own network
//! unless the operator wrote the address itself or said that it is so. A viewer's URL can only
//! choose among these.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::str::FromStr;
use url::{Host, Url};

/// A host that viewers' URLs may name: `HOST`, `HOST:PORT` or `*.DOMAIN`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AllowedHost {
    /// Without the asterisk, in lower case.
    name: String,
    any_below: bool,
    /// None: the scheme's own.
    port: Option<u16>,
}

impl AllowedHost {
    /// The host of `url`.
    pub(crate) fn of(url: &Url) -> Self {
        let name = url.host_str().unwrap_or_default().to_ascii_lowercase();
        Self { name, any_below: false, port: url.port() }
    }

    fn admits(&self, url: &Url) -> bool {
        let host = url.host_str().unwrap_or_default();
        let named = if self.any_below {
            host.strip_suffix(&self.name).is_some_and(|rest| rest.ends_with('.'))
        } else {
            host == self.name
        };
        named && url.port() == self.port
    }
}

impl FromStr for AllowedHost {
    type Err = String;
    fn from_str(text: &str) -> Result<Self, String> {
        let (any_below, rest) = match text.strip_prefix("*.") {
            Some(rest) => (true, rest),
            None => (false, text),
        };
        let url = Url::parse(&format!("http://{rest}/")).ok();
        // Anything but host and port would be seen again in the URL.
        let plain = |url: &Url| url.path() == "/" && url.username().is_empty();
        let url = url.filter(plain).filter(|_| !rest.contains(['/', '?', '#', '@', '*']));
        let wrong = || {
            format!(
                "`{text}` is no host: write cdn.example.com, cdn.example.com:8443 or *.example.com"
            )
        };
        Ok(Self { any_below, ..Self::of(&url.ok_or_else(wrong)?) })
    }
}

/// Why the server does not go there: a sentence without the URL, which may hold a token.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Refused {
    #[error("only http and https URLs without a user name are fetched")]
    Form,
    #[error("the host {0} is not the upstream's; see upstream.hosts")]
    Host(String),
}

/// The hosts of one upstream.
#[derive(Clone, Debug)]
pub(crate) struct Hosts(Vec<AllowedHost>);

impl Hosts {
    pub(crate) fn new(base: &Url, more: &[AllowedHost]) -> Self {
        Self([&[AllowedHost::of(base)], more].concat())
    }

    /// Whether `url` may be asked, or a viewer be sent to it.
    pub(crate) fn check(&self, url: &Url) -> Result<(), Refused> {
        let plain = url.username().is_empty() && url.password().is_none();
        if !matches!(url.scheme(), "http" | "https") || !plain {
            return Err(Refused::Form);
        }
        if self.0.iter().any(|host| host.admits(url)) {
            return Ok(());
        }
        let port = url.port().map_or(String::new(), |port| format!(":{port}"));
        Err(Refused::Host(format!("{}{port}", url.host_str().unwrap_or_default())))
    }
}

/// Looks names up and leaves out what is inside the own network.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Resolver {
    /// Whether addresses of the own network are allowed.
    pub(crate) private: bool,
}

impl reqwest::dns::Resolve for Resolver {
    fn resolve(&self, name: reqwest::dns::Name) -> reqwest::dns::Resolving {
        let private = self.private;
        Box::pin(async move {
            let found = tokio::net::lookup_host((name.as_str(), 0)).await?;
            // Who writes `localhost` means this machine; any other name has to lead outside.
            let any = private || name.as_str() == "localhost";
            let kept: Vec<SocketAddr> =
                found.filter(|address| any || is_public(address.ip())).collect();
            if kept.is_empty() {
                return Err(format!(
                    "{} is inside a private network; see upstream.private_addresses",
                    name.as_str()
                )
                .into());
            }
            Ok(Box::new(kept.into_iter()) as reqwest::dns::Addrs)
        })
    }
}

/// Whether `url` names an address instead of a host.
pub(crate) fn is_address(url: &Url) -> bool {
    matches!(url.host(), Some(Host::Ipv4(_) | Host::Ipv6(_)))
}

/// Whether an address is one of the public Internet (IANA special-purpose registries).
pub(crate) fn is_public(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(v4) => is_public_v4(v4),
        IpAddr::V6(v6) => v6.to_ipv4_mapped().map_or_else(|| is_public_v6(v6), is_public_v4),
    }
}

fn is_public_v4(address: Ipv4Addr) -> bool {
    let [a, b, ..] = address.octets();
    let shared = a == 100 && (64..128).contains(&b);
    let reserved = a == 0 || a >= 240 || (a == 192 && b == 0) || (a == 198 && (b & 0xfe) == 18);
    !(address.is_private()
        || address.is_loopback()
        || address.is_link_local()
        || address.is_multicast()
        || shared
        || reserved)
}

fn is_public_v6(address: Ipv6Addr) -> bool {
    // Global unicast is 2000::/3; of it, what carries an IPv4 address inside is not trusted.
    let first = address.segments()[0];
    (first & 0xe000) == 0x2000 && first != 0x2002 && address.segments()[..2] != [0x2001, 0]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_named_hosts_are_asked() {
        let base = Url::parse("http://origin.example:8080/hls").unwrap();
        let more: Vec<AllowedHost> =
            ["cdn.example", "*.edge.example", "127.0.0.1:81"].map(|it| it.parse().unwrap()).into();
        let hosts = Hosts::new(&base, &more);
        let check = |url: &str| hosts.check(&Url::parse(url).unwrap());
        for good in [
            "http://origin.example:8080/x",
            "https://cdn.example/x?y",
            "http://CDN.example:80/",
            "https://a.b.edge.example/",
            "http://127.0.0.1:81/",
        ] {
            assert_eq!(check(good), Ok(()), "{good}");
        }
        for host in [
            "origin.example",
            "cdn.example:8443",
            "edge.example",
            "badedge.example",
            "cdn.example.evil",
            "169.254.169.254",
            "127.0.0.1",
            "[::1]:81",
        ] {
            let expected = Err(Refused::Host(host.to_owned()));
            assert_eq!(check(&format!("http://{host}/x")), expected, "{host}");
        }
        for form in ["ftp://cdn.example/", "http://u@cdn.example/", "file:///etc/passwd"] {
            assert_eq!(check(form), Err(Refused::Form), "{form}");
        }
    }

    #[test]
    fn hosts_are_written_as_hosts() {
        for wrong in ["", "http://h", "h/x", "u@h", "*", "h:99999", "a.*.b"] {
            assert!(wrong.parse::<AllowedHost>().unwrap_err().contains("*.example.com"), "{wrong}");
        }
    }

    #[test]
    fn addresses_inside_are_not_public() {
        for inside in [
            "127.0.0.1",
            "10.1.2.3",
            "172.16.0.1",
            "192.168.1.1",
            "169.254.169.254",
            "100.64.0.1",
            "0.0.0.0",
            "224.0.0.1",
            "255.255.255.255",
            "::1",
            "fe80::1",
            "fd00::1",
            "::ffff:10.0.0.1",
            "2002:a00:1::",
        ] {
            assert!(!is_public(inside.parse().unwrap()), "{inside}");
        }
        for outside in ["1.1.1.1", "100.128.0.1", "2606:4700::1111", "::ffff:1.1.1.1"] {
            assert!(is_public(outside.parse().unwrap()), "{outside}");
        }
    }

    #[tokio::test]
    async fn a_name_that_leads_inside_is_refused() {
        use reqwest::dns::Resolve;
        // An address in place of a name is looked up without asking anybody.
        for (private, name, is_found) in [
            (false, "localhost", true),
            (false, "10.0.0.1", false),
            (false, "127.0.0.1", false),
            (true, "127.0.0.1", true),
            (false, "1.1.1.1", true),
        ] {
            let found = Resolver { private }.resolve(name.parse().unwrap()).await;
            assert_eq!(found.is_ok(), is_found, "{name} {private}");
        }
    }
}
