//! The limits and time constants of one engine, each with its reason.

use core::time::Duration;
use shoal_wire::{BitRate, ShareMode};

/// Settings of one engine.
#[derive(Clone, Debug)]
pub struct Config {
    /// What the viewer allows.
    pub share: ShareMode,
    /// The viewer's cap on upload.
    pub upload_cap: Option<BitRate>,
    /// Upload assumed until it is learned: the low side of cable.
    pub upload_prior: BitRate,
    /// The learned upload stays above this, so that it can be learned again.
    pub upload_min: BitRate,
    /// Bytes per chunk until a digest tells.
    pub chunk_size_prior: u32,
    /// Length of a segment in bytes until a digest tells.
    pub segment_bytes_prior: u32,
    /// Bytes of chunks kept: two minutes at 4 Mbit/s, what a player may come back to.
    pub store_bytes_max: usize,
    /// The same while a rendition is played on demand: what was played is kept for others, ten
    /// minutes of it at 3 Mbit/s.
    pub on_demand_bytes_max: usize,
    /// Objects known at once then.
    pub on_demand_objects_max: usize,
    /// Media between a request and the newest segment from which on the server is told of a seek
    /// back: further than any player keeps from the live edge by itself.
    pub shift_min: Duration,
    /// Unverified bytes kept per neighbour while a digest is on its way: two segments' runs of the
    /// usual size.
    pub unverified_bytes_max: usize,
    /// Links kept open: 20 in a browser, 32 elsewhere; each costs 0.2–1 MB.
    pub links_max: u16,
    /// Player requests open at once: a player has a few, several players may share an agent.
    pub requests_max: usize,
    /// Objects known at once: the window of a playlist, its parts, and what neighbours hold.
    pub objects_max: usize,
    /// Chunks queued for one neighbour: 4 MiB; more would not be in time anyway.
    pub queued_chunks_per_neighbour_max: usize,
    /// Origin fetches open at once; more only share the same downlink.
    pub origin_fetches_max: usize,
    /// Safety factor of the fallback rule, in percent.
    pub fallback_safety_percent: u32,
    /// The fallback starts at least this long before the deadline: a player decodes up to 0.2 s
    /// ahead, and a filled uplink adds up to 0.3 s to a round trip that was short when measured.
    pub fallback_lead_min: Duration,
    /// Time to the first byte from the origin until it has been measured.
    pub origin_ttfb_prior: Duration,
    /// Rate of the origin until it has been measured.
    pub origin_rate_prior: BitRate,
    /// Answers of the origin that are shorter say nothing of its rate.
    pub rate_sample_bytes_min: u64,
    /// Least time that a run is waited for before it is repaired, beyond its usual lag.
    pub repair_wait_min: Duration,
    /// Time between pings of a neighbour: the round trip changes slowly.
    pub ping_interval: Duration,
    /// A fetch that the origin has not begun to answer after this, or after twice the usual time if
    /// that is longer, is made a second time.
    pub origin_hedge_min: Duration,
    /// How long a failing origin is asked again before the player hears of it.
    pub origin_retry_max: Duration,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            share: ShareMode::Share,
            upload_cap: None,
            upload_prior: BitRate::from_bps(10_000_000),
            upload_min: BitRate::from_bps(200_000),
            chunk_size_prior: shoal_wire::CHUNK_SIZE,
            segment_bytes_prior: 2_000_000,
            store_bytes_max: 64 << 20,
            on_demand_bytes_max: 256 << 20,
            on_demand_objects_max: 1024,
            shift_min: Duration::from_secs(60),
            unverified_bytes_max: 256 << 10,
            links_max: 32,
            requests_max: 64,
            objects_max: 256,
            queued_chunks_per_neighbour_max: 256,
            origin_fetches_max: 16,
            fallback_safety_percent: 150,
            fallback_lead_min: Duration::from_millis(500),
            origin_ttfb_prior: Duration::from_millis(200),
            origin_rate_prior: BitRate::from_bps(20_000_000),
            rate_sample_bytes_min: 64 << 10,
            repair_wait_min: Duration::from_millis(200),
            ping_interval: Duration::from_secs(2),
            origin_hedge_min: Duration::from_secs(1),
            origin_retry_max: Duration::from_secs(20),
        }
    }
}
