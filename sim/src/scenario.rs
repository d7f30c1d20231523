//! A scenario: what kind of world is simulated. Read from commented TOML, changed by `key=value`.
//!
//! Rule: everything that a world depends on is here or in the seed.

use anyhow::{Context, Result, anyhow, bail};
use serde::{Deserialize, Serialize};
use std::collections::BTreeSet;

/// Who can reach whom.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum NatMix {
    /// Everybody reaches everybody.
    Open,
    /// 87.5 % of the pairs connect.
    Home,
    /// 77.5 %.
    Web,
    /// 48 %.
    Mobile,
}

/// How uploads are drawn.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum UploadMix {
    /// DSL, cable, fibre, 5G, 4G: half of what they have, at most 10 Mbit/s; 4G only receives.
    Access,
    /// Even between 0 and 10 Mbit/s.
    Even,
    /// All the same.
    Equal,
}

/// The settings of a world. Times are seconds, rates Mbit/s, shares 0 to 1.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Settings {
    /// Viewers at the start of the event, or on average where they come and go.
    pub viewers: u32,
    /// Media rate of the highest rendition.
    pub rate: f64,
    /// Duration of a segment.
    pub segment_s: f64,
    /// How long the event is watched.
    pub duration_s: f64,
    /// Figures count segments published from here on, or from the middle of a shorter run.
    pub warmup_s: f64,
    /// The viewers of the start arrive evenly over this time.
    pub ramp_s: f64,
    /// Resource index that uploads are scaled to; 0 leaves them as drawn.
    pub rho: f64,
    /// How uploads are drawn.
    pub uploads: UploadMix,
    /// Who can reach whom.
    pub nat: NatMix,
    /// Share of pairs that do not connect although they could.
    pub pair_failure: f64,
    /// Least and most time that a link takes to open.
    pub link_setup_s: [f64; 2],
    /// Least and most time until a failing pair is known to fail.
    pub link_failure_s: [f64; 2],
    /// Whether viewers come and go (40 % zappers, the rest stay 25 minutes in the median).
    pub churn: bool,
    /// Share of leavers that say nothing.
    pub crashes: f64,
    /// The audience grows by this factor …
    pub crowd_factor: f64,
    /// … from here …
    pub crowd_at_s: f64,
    /// … within this time.
    pub crowd_s: f64,
    /// This share leaves …
    pub exit_share: f64,
    /// … from here …
    pub exit_at_s: f64,
    /// … within this time.
    pub exit_s: f64,
    /// This share (one network) is cut off …
    pub outage_share: f64,
    /// … from here …
    pub outage_at_s: f64,
    /// … for this long.
    pub outage_s: f64,
    /// The tracker is down from here …
    pub tracker_down_at_s: f64,
    /// … for this long.
    pub tracker_down_s: f64,
    /// The origin is slow from here …
    pub origin_slow_at_s: f64,
    /// … for this long …
    pub origin_slow_s: f64,
    /// … by this much for the first byte.
    pub origin_slow_by_s: f64,
    /// The origin refuses connections from here …
    pub origin_down_at_s: f64,
    /// … for this long.
    pub origin_down_s: f64,
    /// What the origin can send.
    pub origin_rate: f64,
    /// Loss per packet on every path.
    pub loss: f64,
    /// How wrong the uploads are that peers are told at the start: ± this share.
    pub upload_error: f64,
    /// Number of renditions; each has half the rate of the one above.
    pub renditions: u32,
    /// Switches of rendition per viewer and minute.
    pub switches_per_min: f64,
    /// Whether the title was published before and playheads are scattered.
    pub vod: bool,
    /// Seeks of a viewer of such a title per minute, anywhere in it.
    pub seeks_per_min: f64,
    /// Share of browsers, which keep 20 links; others keep 32.
    pub browsers: f64,
    /// Media that a player wants before it starts.
    pub startup_buffer_s: f64,
    /// Share of peers that send bad chunks.
    pub polluters: f64,
    /// Share of peers that take chunks and pass on none.
    pub droppers: f64,
    /// Share of peers that accuse honest ones.
    pub slanderers: f64,
    /// Share of peers that claim five times their upload.
    pub liars: f64,
}

/// A named world.
#[derive(Clone, Debug)]
pub struct Scenario {
    /// Its name, or the path that it was read from.
    pub name: String,
    /// What it is, in a line.
    pub description: String,
    /// The settings in force.
    pub settings: Settings,
    table: toml::Table,
}

macro_rules! built_in {
    ($($name:literal),* $(,)?) => {
        &[$(($name, include_str!(concat!("../scenarios/", $name, ".toml")))),*]
    };
}

/// What holds where a scenario says nothing.
const DEFAULTS: &str = include_str!("../scenarios/defaults.toml");
const BUILT_IN: &[(&str, &str)] = built_in!(
    "steady",
    "web-nat",
    "mobile-nat",
    "churn",
    "flash-crowd",
    "mass-exit",
    "isp-outage",
    "tracker-down",
    "origin-down",
    "lossy",
    "renditions",
    "vod",
    "attackers",
);

impl Scenario {
    /// A built-in scenario by its name, or one from a file by its path.
    ///
    /// # Errors
    /// If there is none, or it is no scenario.
    pub fn named(name: &str) -> Result<Self> {
        let text = match BUILT_IN.iter().find(|(known, _)| *known == name) {
            Some((_, text)) => (*text).to_owned(),
            None if name.contains(['/', '.']) => std::fs::read_to_string(name)
                .with_context(|| format!("cannot read the scenario {name}"))?,
            None => {
                let names: Vec<_> = BUILT_IN.iter().map(|(name, _)| *name).collect();
                bail!("no scenario `{name}`: there are {}, or give a file", names.join(", "));
            }
        };
        let mut table: toml::Table = toml::from_str(DEFAULTS).context("the defaults")?;
        let own: toml::Table = toml::from_str(&text).with_context(|| format!("in {name}"))?;
        table.extend(own);
        let description = table.remove("description");
        let description = description.as_ref().and_then(toml::Value::as_str).unwrap_or_default();
        let description = description.to_owned();
        let settings = settings(&table).with_context(|| format!("in {name}"))?;
        Ok(Self { name: name.to_owned(), description, settings, table })
    }

    /// A scenario with these settings, of the form `key=value`.
    ///
    /// # Errors
    /// If there is no such scenario, or a setting is unknown, is set twice or does not fit.
    pub fn changed(name: &str, settings: &[String]) -> Result<Self> {
        let mut scenario = Self::named(name)?;
        let key = |setting: &str| setting.split('=').next().unwrap_or_default().trim().to_owned();
        let mut keys = BTreeSet::new();
        if let Some(twice) = settings.iter().find(|setting| !keys.insert(key(setting))) {
            bail!("`{}` is set twice", key(twice));
        }
        // A setting may fit only once another is made (a shorter event needs a shorter warm-up),
        // and the order of the words must not matter: what does not fit yet is tried again after
        // the rest.
        let mut left: Vec<_> = settings.iter().collect();
        while !left.is_empty() {
            let before = left.len();
            let mut first_error = None;
            left.retain(|setting| match scenario.set(setting) {
                Ok(()) => false,
                Err(error) => {
                    first_error.get_or_insert(error);
                    true
                }
            });
            match first_error {
                Some(error) if left.len() == before => return Err(error),
                _ => {}
            }
        }
        Ok(scenario)
    }

    /// Names and descriptions of the built-in scenarios.
    pub fn all() -> Vec<(String, String)> {
        let named = |(name, _): &(&str, &str)| {
            let scenario = Self::named(name).expect("built-in scenarios are tested");
            (scenario.name, scenario.description)
        };
        BUILT_IN.iter().map(named).collect()
    }

    /// Changes one setting.
    ///
    /// # Errors
    /// If there is no such key, or the value does not fit it.
    pub fn set(&mut self, assignment: &str) -> Result<()> {
        let (key, value) = assignment
            .split_once('=')
            .ok_or_else(|| anyhow!("`{assignment}` is not of the form key=value"))?;
        let (key, value) = (key.trim(), value.trim());
        let Some(old) = self.table.get(key) else {
            let keys: Vec<_> = self.table.keys().map(String::as_str).collect();
            bail!("no setting `{key}`: there are {}", keys.join(", "));
        };
        let parsed = toml::from_str::<toml::Table>(&format!("v = {value}"))
            .or_else(|_| toml::from_str(&format!("v = \"{value}\"")))
            .with_context(|| format!("`{value}` is no value"))?;
        let mut value = parsed.get("v").cloned().ok_or_else(|| anyhow!("no value"))?;
        if let (toml::Value::Float(_), toml::Value::Integer(whole)) = (old, &value) {
            value = toml::Value::Float(*whole as f64);
        }
        let mut table = self.table.clone();
        table.insert(key.to_owned(), value);
        self.settings = settings(&table).with_context(|| format!("`{assignment}` does not fit"))?;
        self.table = table;
        Ok(())
    }
}

fn settings(table: &toml::Table) -> Result<Settings> {
    let mut read: Settings = toml::Value::Table(table.clone()).try_into()?;
    check(&read)?;
    // A short run has a short warm-up.
    read.warmup_s = read.warmup_s.min(read.duration_s / 2.0);
    Ok(read)
}

fn check(s: &Settings) -> Result<()> {
    if !(1..=1_000_000).contains(&s.viewers) {
        bail!("viewers must be 1 to 1000000");
    }
    if !(0.05..=100.0).contains(&s.rate) || !(0.1..=30.0).contains(&s.segment_s) {
        bail!("rate must be 0.05 to 100 Mbit/s and segment_s 0.1 to 30 s");
    }
    if !(1.0..=100_000.0).contains(&s.duration_s) {
        bail!("duration_s must be 1 to 100000 s");
    }
    if s.warmup_s < 0.0 {
        bail!("warmup_s must be 0 or more");
    }
    if !(1..=8).contains(&s.renditions) {
        bail!("renditions must be 1 to 8");
    }
    let shares = [
        s.pair_failure,
        s.crashes,
        s.exit_share,
        s.outage_share,
        s.loss,
        s.upload_error,
        s.browsers,
        s.polluters,
        s.droppers,
        s.slanderers,
        s.liars,
    ];
    if shares.iter().any(|share| !(0.0..=1.0).contains(share)) {
        bail!("shares are 0 to 1");
    }
    if s.polluters + s.droppers + s.slanderers + s.liars > 1.0 {
        bail!("attackers are more than everybody");
    }
    Ok(())
}
