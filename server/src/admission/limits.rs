//! How often a bearer or an address may do something.
//!
//! Rule: what is counted is forgotten when it no longer matters, so that memory follows who is here
//! and not who was. A network of IPv6 counts as one address, because a viewer has all of it.

use super::{Bearer, Refusal};
use crate::config::TrackerConfig;
use axum::http::StatusCode;
use governor::{DefaultKeyedRateLimiter, Quota, RateLimiter};
use std::hash::Hash;
use std::net::{IpAddr, Ipv6Addr};
use std::num::NonZeroU32;
use std::time::Duration;

/// How often what no longer matters is forgotten.
const TIDY_INTERVAL: Duration = Duration::from_secs(60);

/// Limits of joining.
pub(super) struct JoinLimits {
    by_bearer: DefaultKeyedRateLimiter<Bearer>,
    by_address: DefaultKeyedRateLimiter<IpAddr>,
}

/// So many a minute of each, all at once if need be.
fn per_minute<K: Hash + Eq + Clone>(count: usize) -> DefaultKeyedRateLimiter<K> {
    RateLimiter::keyed(Quota::per_minute(whole(count)))
}

/// So many a second of each.
pub(crate) fn per_second<K: Hash + Eq + Clone>(count: usize) -> DefaultKeyedRateLimiter<K> {
    RateLimiter::keyed(Quota::per_second(whole(count)))
}

fn whole(count: usize) -> NonZeroU32 {
    u32::try_from(count).ok().and_then(NonZeroU32::new).unwrap_or(NonZeroU32::MAX)
}

impl JoinLimits {
    pub(super) fn new(config: &TrackerConfig) -> Self {
        Self {
            by_bearer: per_minute(config.joins_per_minute_max.0),
            by_address: per_minute(config.joins_per_address_max.0),
        }
    }

    /// Counts an attempt of somebody whose token is not read yet.
    pub(super) fn attempt(&self, address: IpAddr) -> Result<(), Refusal> {
        self.by_address.check_key(&network(address)).map_err(|_| {
            let why = "too many viewers join from this address (tracker.joins_per_address_max)";
            Refusal::new(StatusCode::TOO_MANY_REQUESTS, "join_address", why)
        })
    }

    /// Counts a join.
    pub(super) fn join(&self, bearer: Bearer) -> Result<(), Refusal> {
        self.by_bearer.check_key(&bearer).map_err(|_| {
            let why = "this token joins too often (tracker.joins_per_minute_max)";
            Refusal::new(StatusCode::TOO_MANY_REQUESTS, "join_rate", why)
        })
    }

    /// Forgets, again and again.
    pub(super) async fn keep_tidy(&self) {
        loop {
            tokio::time::sleep(TIDY_INTERVAL).await;
            self.by_bearer.retain_recent();
            self.by_bearer.shrink_to_fit();
            self.by_address.retain_recent();
            self.by_address.shrink_to_fit();
        }
    }
}

/// What counts as one address: one of IPv4, a /64 of IPv6.
pub(crate) fn network(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V4(v4) => v4.into(),
        IpAddr::V6(v6) => {
            let [a, b, c, d, ..] = v6.segments();
            Ipv6Addr::new(a, b, c, d, 0, 0, 0, 0).into()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_network_of_ipv6_counts_as_one() {
        let same = |a: &str, b: &str| network(a.parse().unwrap()) == network(b.parse().unwrap());
        assert!(same("2001:db8:1:2::1", "2001:db8:1:2:ffff::9"));
        assert!(!same("2001:db8:1:2::1", "2001:db8:1:3::1"));
        assert!(same("::ffff:192.0.2.1", "192.0.2.1") && !same("192.0.2.1", "192.0.2.2"));
    }
}
