//! What can be set, and why the defaults are what they are.
//!
//! Rule: everything that a peer can make grow has a limit here.

use core::time::Duration;
use shoal_wire::BitRate;

/// A tracker's settings. Ratios are in thousandths.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Config {
    /// Most peers in the stream; more play from the origin. 200,000 peers at 1 KiB are 200 MiB.
    pub peers_max: u32,
    /// Most links of a peer. A link costs 0.2 to 1 MB and 0.2 to 0.6 s of CPU at each end; eight
    /// parents and their return traffic take about 12, a strong peer's children the rest.
    pub links_max: u8,
    /// Most renditions that one peer watches: audio and video, old and new during a switch, twice.
    pub watches_max: u8,
    /// Most renditions of the stream: a ladder of ten with audio in six languages.
    pub renditions_max: u16,
    /// Newest objects whose digests a newcomer gets: its start-up buffer of three segments and one
    /// more that is published meanwhile.
    pub start_digests_max: u8,
    /// Failed pairs that a peer remembers; the oldest is forgotten. Twice the parents that it has.
    pub failed_pairs_max: u8,
    /// How long a pair that did not connect is left alone: NAT mappings and addresses change in
    /// minutes, not seconds.
    pub failed_pair_memory: Duration,
    /// How long a pair whose link closed is left alone: the other end's report of the same
    /// event arrives meanwhile.
    pub closed_pair_memory: Duration,
    /// Time that a link may be without use before it is closed to make room. Longer than a child
    /// keeps its old parent while the new link opens (a failing pair takes up to 15 s).
    pub link_idle: Duration,
    /// Usable upload of a peer that has not reported yet: the median of fixed lines is above it.
    pub upload_prior: BitRate,
    /// Most upload that a peer is believed to have, so that a lie costs no more than this.
    pub upload_max: BitRate,
    /// The part of an uplink that is given away at most, ‰, where there is no more than is needed.
    pub headroom: u32,
    /// The supply that is aimed at, relative to demand, ‰: every uplink then gives the same part of
    /// itself and none is full. 1.1 came to the offload bound at a resource index of 1.7 and to
    /// 0.997 of it at 1.0, in a static sketch with 1,000 peers.
    pub even_use: u32,
    /// Candidates looked at for one attachment. They come sorted by arrival, so more find little.
    pub probes_max: u8,
    /// Acceptable candidates compared before the best is taken: the power of a few choices.
    pub choices_max: u8,
    /// Time between two rounds of rebalancing.
    pub tick: Duration,
    /// Moves per round at least: a swarm of a thousand levels out within half a minute.
    pub moves_min: u16,
    /// Moves per round at most: at 100,000 peers 256 moves are 0.3 % of them, in one substream each.
    pub moves_max: u16,
    /// Members looked at per round at most: bounds the time that a round takes.
    pub scan_max: u16,
    /// Time for which a peer is not moved again in a substream for a better place; it doubles with
    /// every such move.
    pub move_cooldown: Duration,
    /// Time that a peer has been there before it becomes a root in place of another.
    pub root_age_min: Duration,
    /// Time after the first event in which a restarted tracker moves nobody without need, and waits
    /// for parents that have not come back yet.
    pub adopt_grace: Duration,
    /// Different children, at least, that call a parent late before it loses its slots; three
    /// quarters of them if it has more.
    pub late_children_min: u8,
    /// Time for which it then has none.
    pub late_penalty: Duration,
    /// A viewer so far behind the newest segment is served on demand: further than any player keeps
    /// from the live edge by itself.
    pub shift_min: Duration,
    /// One that was, and comes so near to it, goes to the trees.
    pub shift_end: Duration,
    /// Sources of an on-demand viewer: three for each segment, and as many for where it goes next.
    pub sources_max: u8,
    /// Unrelated reporters of bad chunks that ban a peer with which no child is content. One report
    /// proves nothing to a third party; four from different sites are hard to come by for a
    /// slanderer.
    pub accusers_min: u8,
    /// Peers that one reporter may accuse before its reports only separate it from them. An honest
    /// peer meets few polluters, since each is banned after a few reports.
    pub accusations_max: u8,
    /// Reporters remembered per accused peer; the oldest is forgotten.
    pub reporters_max: u8,
    /// Accused peers remembered; 4,096 of them with their reporters are 2 MiB.
    pub accused_max: u16,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            peers_max: 200_000,
            links_max: 32,
            watches_max: 8,
            renditions_max: 64,
            start_digests_max: 4,
            failed_pairs_max: 16,
            failed_pair_memory: Duration::from_secs(120),
            closed_pair_memory: Duration::from_secs(10),
            link_idle: Duration::from_secs(20),
            upload_prior: BitRate::from_bps(10_000_000),
            upload_max: BitRate::from_bps(100_000_000),
            headroom: 1_000,
            even_use: 1_100,
            probes_max: 24,
            choices_max: 4,
            tick: Duration::from_secs(1),
            moves_min: 128,
            moves_max: 256,
            scan_max: 256,
            move_cooldown: Duration::from_secs(5),
            root_age_min: Duration::from_secs(1),
            adopt_grace: Duration::from_secs(10),
            late_children_min: 3,
            late_penalty: Duration::from_secs(60),
            shift_min: Duration::from_secs(60),
            shift_end: Duration::from_secs(20),
            sources_max: 6,
            accusers_min: 4,
            accusations_max: 8,
            reporters_max: 16,
            accused_max: 4_096,
        }
    }
}

impl Config {
    /// How far behind the newest segment a viewer is served on demand.
    pub(crate) const fn shift(&self, is_shifted: bool) -> Duration {
        if is_shifted { self.shift_end } else { self.shift_min }
    }
}
