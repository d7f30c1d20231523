//! The viewers of one run, as drawn: who comes when, with what upload, behind what.
//!
//! Rule: the bounds are computed from this alone; nothing that happens later changes it.

use crate::oracle::Nat;
use crate::random::Random;
use crate::scenario::{NatMix, Settings, UploadMix};
use serde::Serialize;

/// How a viewer is connected.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Access {
    /// Digital subscriber line.
    Dsl,
    /// Cable.
    Cable,
    /// Fibre.
    Fibre,
    /// Mobile, fifth generation.
    FiveG,
    /// Mobile, fourth generation.
    FourG,
}

/// What a viewer is up to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Role {
    /// It follows the protocol.
    Honest,
    /// It sends bad chunks.
    Polluter,
    /// It passes no chunk on.
    Dropper,
    /// It accuses its honest neighbours.
    Slanderer,
    /// It claims five times its upload.
    Liar,
}

/// One viewer.
#[derive(Clone, Debug, Serialize)]
pub struct Viewer {
    /// Seconds from the start of the event.
    pub join_s: f64,
    /// Seconds from the start; the end of the run for those that stay.
    pub leave_s: f64,
    /// Upload that it can use for the swarm, Mbit/s: what its uplink carries.
    pub upload_mbps: f64,
    /// What it believes at first, Mbit/s.
    pub believed_mbps: f64,
    /// What its downlink carries, Mbit/s.
    pub download_mbps: f64,
    /// Its address translation.
    pub class: Nat,
    /// How it is connected.
    pub access: Access,
    /// Its part of a round trip, ms.
    pub access_ms: f64,
    /// Where it is: country, town and network.
    pub country: u16,
    /// Town, for the length of paths.
    pub town: u16,
    /// Network.
    pub asn: u32,
    /// Address block.
    pub subnet: u32,
    /// Links that it keeps.
    pub links_max: u16,
    /// The rendition that it begins with.
    pub rendition: u16,
    /// What it is up to.
    pub role: Role,
    /// Whether it leaves without a word.
    pub crashes: bool,
    /// Whether it is in the network that is cut off.
    pub in_outage: bool,
    /// Where in a finished title it begins, 0 to 1.
    pub position: f64,
}

/// All viewers of a run, by the order in which they join.
#[derive(Clone, Debug, Serialize)]
pub struct Instance {
    /// The seed.
    pub seed: u64,
    /// When the run ends, s.
    pub end_s: f64,
    /// Media rate, Mbit/s.
    pub rate_mbps: f64,
    /// The viewers.
    pub viewers: Vec<Viewer>,
}

/// Share, median Mbit/s, σ, downlink factor, least and most of the part of a round trip in ms.
const ACCESS: [(Access, f64, f64, f64, f64, [f64; 2]); 5] = [
    (Access::Dsl, 0.12, 4.0, 0.7, 8.0, [12.0, 20.0]),
    (Access::Cable, 0.30, 15.0, 0.5, 8.0, [12.0, 20.0]),
    (Access::Fibre, 0.33, 100.0, 0.7, 2.0, [5.0, 10.0]),
    (Access::FiveG, 0.10, 18.0, 0.9, 6.0, [25.0, 35.0]),
    (Access::FourG, 0.15, 6.0, 0.9, 6.0, [40.0, 60.0]),
];
const USABLE_SHARE: f64 = 0.5;
const USABLE_MAX_MBPS: f64 = 10.0;
/// A viewer whose line is too slow for the stream would not watch it.
const DOWNLINK_RATES_MIN: f64 = 4.0;
const TOWNS: u64 = 40;
const COUNTRIES: u64 = 8;
const ZAPPERS: f64 = 0.4;
const ZAP_MEAN_S: f64 = 30.0;
const STAY_MEDIAN_S: f64 = 1500.0;
const STAY_SIGMA: f64 = 1.2;
const BROWSER_LINKS: u16 = 20;
const NATIVE_LINKS: u16 = 32;

impl Instance {
    /// Draws the viewers of a run.
    pub fn draw(settings: &Settings, seed: u64) -> Self {
        let mut random = Random::new(seed, 1);
        let mut times = arrivals(settings, &mut random);
        times.sort_by(|a, b| a.0.total_cmp(&b.0));
        let mut viewers: Vec<Viewer> = times
            .into_iter()
            .map(|(join_s, leave_s)| draw_viewer(settings, &mut random, join_s, leave_s))
            .collect();
        leave_early(settings, &mut random, &mut viewers);
        scale_uploads(settings, &mut viewers);
        misjudge_uploads(settings, &mut random, &mut viewers);
        let end_s = settings.duration_s;
        Self { seed, end_s, rate_mbps: settings.rate, viewers }
    }

    /// Usable upload over demand, of those there at the time.
    pub fn resource_index(&self, at_s: f64) -> f64 {
        let there = |v: &&Viewer| v.join_s <= at_s && v.leave_s > at_s;
        let count = self.viewers.iter().filter(there).count();
        let upload: f64 = self.viewers.iter().filter(there).map(|v| v.upload_mbps).sum();
        upload / (count.max(1) as f64 * self.rate_mbps)
    }
}

/// When viewers come and go.
fn arrivals(s: &Settings, random: &mut Random) -> Vec<(f64, f64)> {
    let end = s.duration_s;
    let mut times = Vec::new();
    for _ in 0..s.viewers {
        let join = random.unit() * s.ramp_s;
        let stay = if s.churn { residual_stay(random) } else { f64::INFINITY };
        times.push((join, (join + stay).min(end)));
    }
    if s.crowd_factor > 1.0 {
        let newcomers = (f64::from(s.viewers) * (s.crowd_factor - 1.0)).round() as u64;
        for _ in 0..newcomers {
            times.push((s.crowd_at_s + random.unit() * s.crowd_s, end));
        }
    }
    if s.churn {
        let mean = ZAPPERS * ZAP_MEAN_S + (1.0 - ZAPPERS) * mean_stay();
        let per_second = f64::from(s.viewers) / mean;
        let mut at = s.ramp_s + random.exponential(1.0 / per_second);
        while at < end {
            times.push((at, (at + stay(random)).min(end)));
            at += random.exponential(1.0 / per_second);
        }
    }
    times
}

fn mean_stay() -> f64 {
    STAY_MEDIAN_S * (STAY_SIGMA * STAY_SIGMA / 2.0).exp()
}

fn stay(random: &mut Random) -> f64 {
    if random.chance(ZAPPERS) {
        random.exponential(ZAP_MEAN_S)
    } else {
        random.lognormal(STAY_MEDIAN_S, STAY_SIGMA)
    }
    .max(1.0)
}

/// What is left of the session of one who is there at some moment: long ones are met more often.
fn residual_stay(random: &mut Random) -> f64 {
    let weights = [ZAPPERS * ZAP_MEAN_S, (1.0 - ZAPPERS) * mean_stay()];
    let whole = if random.pick(&weights) == 0 {
        random.exponential(ZAP_MEAN_S) + random.exponential(ZAP_MEAN_S)
    } else {
        let median = STAY_MEDIAN_S * (STAY_SIGMA * STAY_SIGMA).exp();
        random.lognormal(median, STAY_SIGMA)
    };
    (whole * random.unit()).max(1.0)
}

fn draw_viewer(s: &Settings, random: &mut Random, join_s: f64, leave_s: f64) -> Viewer {
    let shares: Vec<f64> = ACCESS.iter().map(|class| class.1).collect();
    let (access, _, median, sigma, down, [least, most]) = ACCESS[random.pick(&shares)];
    let line = random.lognormal(median, sigma);
    let even = random.unit();
    let upload_mbps = match s.uploads {
        UploadMix::Access if access == Access::FourG => 0.0,
        UploadMix::Access => (line * USABLE_SHARE).min(USABLE_MAX_MBPS),
        UploadMix::Even => even * USABLE_MAX_MBPS,
        UploadMix::Equal => s.rate * 1.5,
    };
    let town = random.below(TOWNS);
    let asn = 1 + random.below(25);
    let download_mbps = (line * down).max(s.rate * DOWNLINK_RATES_MIN);
    let roles = [s.polluters, s.droppers, s.slanderers, s.liars];
    let honest = 1.0 - roles.iter().sum::<f64>();
    let weights = [honest, roles[0], roles[1], roles[2], roles[3]];
    let role = [Role::Honest, Role::Polluter, Role::Dropper, Role::Slanderer, Role::Liar];
    Viewer {
        join_s,
        leave_s,
        upload_mbps,
        believed_mbps: upload_mbps,
        download_mbps,
        class: draw_class(s.nat, random),
        access,
        access_ms: random.between(least, most),
        country: 1 + (town % COUNTRIES) as u16,
        town: town as u16,
        asn: asn as u32,
        subnet: 1 + (random.bits() >> 36) as u32,
        links_max: if random.chance(s.browsers) { BROWSER_LINKS } else { NATIVE_LINKS },
        rendition: (random.below(u64::from(s.renditions))) as u16,
        role: role[random.pick(&weights)],
        crashes: random.chance(s.crashes),
        in_outage: random.chance(s.outage_share),
        position: random.unit(),
    }
}

fn draw_class(mix: NatMix, random: &mut Random) -> Nat {
    let shares = match mix {
        NatMix::Open => return Nat::Open,
        NatMix::Home => [0.12, 0.12, 0.68, 0.06, 0.02],
        NatMix::Web => [0.12, 0.10, 0.63, 0.12, 0.03],
        NatMix::Mobile => [0.08, 0.08, 0.45, 0.35, 0.04],
    };
    [Nat::Open, Nat::AddressRestricted, Nat::PortRestricted, Nat::Symmetric, Nat::Blocked]
        [random.pick(&shares)]
}

/// The mass exit.
fn leave_early(s: &Settings, random: &mut Random, viewers: &mut [Viewer]) {
    for viewer in viewers {
        if random.chance(s.exit_share) {
            let leave = s.exit_at_s + random.unit() * s.exit_s;
            viewer.leave_s = viewer.leave_s.min(leave.max(viewer.join_s + 1.0));
        }
    }
}

/// Brings the mean upload to what the resource index asks for.
fn scale_uploads(s: &Settings, viewers: &mut [Viewer]) {
    let sum: f64 = viewers.iter().map(|v| v.upload_mbps).sum();
    if s.rho > 0.0 && sum > 0.0 {
        let factor = s.rho * s.rate * viewers.len() as f64 / sum;
        for viewer in viewers {
            viewer.upload_mbps *= factor;
        }
    }
}

fn misjudge_uploads(s: &Settings, random: &mut Random, viewers: &mut [Viewer]) {
    for viewer in viewers {
        let error = random.between(-s.upload_error, s.upload_error);
        let lie = if viewer.role == Role::Liar { 5.0 } else { 1.0 };
        viewer.believed_mbps = viewer.upload_mbps * (1.0 + error) * lie;
    }
}
