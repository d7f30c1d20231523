//! One network namespace per viewer, its uplink shaped, all on one bridge with the server.
//!
//! Rule: everything made here is removed when the value is dropped, and what an earlier demo that
//! was killed has left is removed at the next start. Names carry the demo's process id.
//!
//! The host's own namespace holds the server and one end of a link to the bridge, which lives in a
//! namespace of its own. Addresses are of 198.18.0.0/15, set aside for measurements (RFC 2544).

use super::args::Rate;
use crate::shell;
use anyhow::{Context, Result, ensure};
use std::process::Command;

/// Bytes that may leave at once: enough for one aggregated packet train, and at 5 Mbit/s only 26 ms.
const BURST: &str = "16kb";

/// Longest time that a packet waits in the uplink's queue, as in a common access router.
const QUEUE_LATENCY: &str = "100ms";

const PREFIX: &str = "shoal";

/// The namespaces of one demo.
#[derive(Debug)]
pub(crate) struct Network {
    pid: u32,
    subnet: String,
    viewers: u8,
}

impl Network {
    /// Makes the bridge and one shaped namespace per viewer.
    pub(crate) fn create(viewers: u8, up: Rate) -> Result<Self> {
        ensure!(shell::is_root(), "--shape makes network namespaces and needs root");
        for program in ["ip", "tc"] {
            ensure!(shell::is_installed(program), "--shape needs `{program}` (apt: iproute2)");
        }
        remove_leftovers();
        let pid = std::process::id();
        let subnet = format!("198.18.{}", pid % 256);
        let network = Self { pid, subnet, viewers };
        // From here on a failure drops `network` and with it what was made.
        network.make_hub().context("cannot make the bridge's namespace")?;
        for viewer in 0..viewers {
            network.make_viewer(viewer, up).context("cannot make a viewer's namespace")?;
        }
        Ok(network)
    }

    /// The host's address, which the server listens on.
    pub(crate) fn server_address(&self) -> String {
        format!("{}.1", self.subnet)
    }

    /// Name of a viewer's namespace.
    pub(crate) fn viewer(&self, viewer: u8) -> String {
        format!("{PREFIX}-{}-{viewer}", self.pid)
    }

    fn hub(&self) -> String {
        format!("{PREFIX}-{}-hub", self.pid)
    }

    /// The host's end of its link to the bridge; an interface name has at most 15 characters.
    fn host_link(&self) -> String {
        format!("{PREFIX}{}", self.pid)
    }

    fn make_hub(&self) -> Result<()> {
        let (hub, link) = (self.hub(), self.host_link());
        ip(&format!("netns add {hub}"))?;
        ip(&format!("-n {hub} link add name hub0 type bridge"))?;
        ip(&format!("-n {hub} link set hub0 up"))?;
        ip(&format!("link add name {link} type veth peer name host0 netns {hub}"))?;
        ip(&format!("-n {hub} link set host0 master hub0 up"))?;
        ip(&format!("addr add {}/24 dev {link}", self.server_address()))?;
        ip(&format!("link set {link} up"))
    }

    fn make_viewer(&self, viewer: u8, up: Rate) -> Result<()> {
        let (name, hub) = (self.viewer(viewer), self.hub());
        let address = format!("{}.{}", self.subnet, u16::from(viewer) + 10);
        ip(&format!("netns add {name}"))?;
        ip(&format!("-n {name} link set lo up"))?;
        ip(&format!("-n {name} link add name wan0 type veth peer name v{viewer} netns {hub}"))?;
        ip(&format!("-n {hub} link set v{viewer} master hub0 up"))?;
        ip(&format!("-n {name} addr add {address}/24 dev wan0"))?;
        ip(&format!("-n {name} link set wan0 up"))?;
        ip(&format!("-n {name} route add default via {}", self.server_address()))?;
        let shape = format!(
            "netns exec {name} tc qdisc add dev wan0 root tbf rate {}bit burst {BURST} \
             latency {QUEUE_LATENCY}",
            up.bps
        );
        ip(&shape)
    }
}

impl Drop for Network {
    fn drop(&mut self) {
        // Deleting a namespace deletes its links; a failure is for what was never made.
        for viewer in 0..self.viewers {
            let _ = ip(&format!("netns del {}", self.viewer(viewer)));
        }
        let _ = ip(&format!("netns del {}", self.hub()));
        let _ = ip(&format!("link del {}", self.host_link()));
    }
}

/// Removes namespaces of demos whose process no longer exists.
fn remove_leftovers() {
    let Ok(list) = shell::capture(Command::new("ip").args(["netns", "list"])) else { return };
    for name in list.lines().filter_map(|line| line.split_whitespace().next()) {
        let mut fields = name.split('-');
        let is_ours = fields.next() == Some(PREFIX);
        let owner = fields.next().and_then(|pid| pid.parse::<u32>().ok());
        if let (true, Some(pid)) = (is_ours, owner)
            && !std::path::Path::new(&format!("/proc/{pid}")).exists()
        {
            let _ = ip(&format!("netns del {name}"));
        }
    }
}

fn ip(words: &str) -> Result<()> {
    shell::capture(Command::new("ip").args(words.split_whitespace())).map(drop)
}
