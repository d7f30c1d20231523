//! A second, independent count of what the origin sends: the kernel's, by an nftables counter.
//!
//! Rule: it counts packets that leave the public port and knows nothing of the server. The table is
//! removed when the value is dropped.
//!
//! The kernel counts IPv4 bytes, headers included. The payload is those bytes less 52 per packet: 20
//! of IP, 20 of TCP, 12 of timestamps, which Linux uses on every connection. Segmentation happens
//! below the counter, so that a packet here is up to 64 KiB. What is not corrected: handshakes (8
//! bytes each), selective acknowledgements, and retransmissions, which really were sent.

use crate::shell;
use anyhow::{Context, Result};
use serde_json::Value;
use std::process::Command;

const HEADER_BYTES: u64 = 52;

/// A counter on one port.
#[derive(Debug)]
pub(crate) struct Counter {
    table: String,
}

impl Counter {
    /// Counts what leaves TCP port `port` of this machine. None without the rights or the tool.
    pub(crate) fn create(port: u16) -> Option<Self> {
        if !shell::is_root() || !shell::is_installed("nft") {
            return None;
        }
        let counter = Self { table: format!("shoal_demo_{}", std::process::id()) };
        counter.install(port).map(|()| counter).ok()
    }

    fn install(&self, port: u16) -> Result<()> {
        let table = &self.table;
        nft(&format!("add table inet {table}"))?;
        nft(&format!("add chain inet {table} out {{ type filter hook output priority 0 ; }}"))?;
        nft(&format!("add rule inet {table} out tcp sport {port} counter")).map(drop)
    }

    /// Payload bytes so far.
    pub(crate) fn payload_bytes(&self) -> Result<u64> {
        let text = nft(&format!("-j list table inet {}", self.table))?;
        payload_bytes(&serde_json::from_str(&text)?).context("nft lists no counter")
    }
}

impl Drop for Counter {
    fn drop(&mut self) {
        let _ = nft(&format!("delete table inet {}", self.table));
    }
}

fn payload_bytes(listing: &Value) -> Option<u64> {
    let items = listing["nftables"].as_array()?;
    let mut expressions = items.iter().filter_map(|item| item["rule"]["expr"].as_array()).flatten();
    let counter = expressions.find_map(|expression| expression.get("counter"))?;
    let (packets, bytes) = (counter["packets"].as_u64()?, counter["bytes"].as_u64()?);
    Some(bytes.saturating_sub(packets * HEADER_BYTES))
}

fn nft(words: &str) -> Result<String> {
    shell::capture(Command::new("nft").args(words.split_whitespace()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn headers_are_taken_off() {
        let listing = serde_json::json!({"nftables": [
            {"metainfo": {}},
            {"rule": {"expr": [{"match": {}}, {"counter": {"packets": 3, "bytes": 1156}}]}},
        ]});
        assert_eq!(payload_bytes(&listing), Some(1000));
        assert_eq!(payload_bytes(&serde_json::json!({"nftables": []})), None);
    }
}
