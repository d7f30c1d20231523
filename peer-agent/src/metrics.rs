//! `/metrics`: the status as Prometheus text.
//!
//! Rule: figures are taken when they are asked for, from the same place as `/status`. No label
//! names a peer or an address.

use crate::agent::Agent;
use crate::status::{AgentStatus, Sums};
use prometheus::{Encoder, IntCounterVec, IntGauge, Opts, Registry, TextEncoder};

/// The metrics as text.
pub(crate) async fn render(agent: &Agent) -> String {
    let status = agent.status().await;
    let mut sums = agent.streams.ended();
    status.streams.iter().for_each(|stream| sums.add(stream));
    match registry(&status, &sums).and_then(|registry| encode(&registry)) {
        Ok(text) => text,
        Err(error) => format!("# {error}\n"),
    }
}

fn registry(status: &AgentStatus, sums: &Sums) -> Result<Registry, prometheus::Error> {
    let registry = Registry::new();
    let counter = |name: &str, help: &str, label: &str, values: &[(&str, u64)]| {
        let counter = IntCounterVec::new(Opts::new(name, help), &[label])?;
        for (value, count) in values {
            counter.with_label_values(&[*value]).inc_by(*count);
        }
        registry.register(Box::new(counter))
    };
    let gauge = |name: &str, help: &str, value: u64| {
        let gauge = IntGauge::new(name, help)?;
        gauge.set(i64::try_from(value).unwrap_or(i64::MAX));
        registry.register(Box::new(gauge))
    };
    let totals = &sums.totals;
    counter(
        "shoal_agent_received_bytes_total",
        "Media bytes taken, by source; those of no use apart.",
        "source",
        &[
            ("origin", totals.from_origin.as_bytes()),
            ("peer", totals.from_peers.as_bytes()),
            ("wasted", totals.wasted.as_bytes()),
        ],
    )?;
    counter(
        "shoal_agent_sent_bytes_total",
        "Media bytes given, by receiver.",
        "to",
        &[("player", totals.delivered.as_bytes()), ("peer", totals.to_peers.as_bytes())],
    )?;
    let reasons: Vec<_> = sums.fallback_reasons.iter().map(|(k, v)| (*k, *v)).collect();
    counter(
        "shoal_agent_fallback_total",
        "Fetches from the origin of what peers should have brought.",
        "reason",
        &reasons,
    )?;
    counter(
        "shoal_agent_distrust_total",
        "Chunks whose hash did not match, and neighbours cut off.",
        "what",
        &[("hash_mismatch", totals.hash_mismatches), ("cut_off", sums.cut_off)],
    )?;
    counter(
        "shoal_agent_build_info",
        "Always 1, with the version.",
        "version",
        &[(status.version, 1)],
    )?;
    let streams = &status.streams;
    let neighbours: usize = streams.iter().map(|stream| stream.neighbours.len()).sum();
    let players: u64 = streams.iter().map(|stream| u64::from(stream.players)).sum();
    gauge("shoal_agent_streams", "Streams that are watched.", streams.len() as u64)?;
    gauge("shoal_agent_neighbours", "Peers with an open data channel.", neighbours as u64)?;
    gauge("shoal_agent_players", "Players, as far as their requests tell.", players)?;
    gauge("shoal_agent_stalled_milliseconds", "Time that media came late.", totals.stalled_ms)?;
    if let Some(rss) = status.rss_bytes {
        gauge("process_resident_memory_bytes", "Resident memory.", rss)?;
    }
    Ok(registry)
}

fn encode(registry: &Registry) -> Result<String, prometheus::Error> {
    let mut out = Vec::new();
    TextEncoder::new().encode(&registry.gather(), &mut out)?;
    Ok(String::from_utf8_lossy(&out).into_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sums_are_told_by_source() {
        let status = AgentStatus {
            version: "1.2.3",
            pid: 1,
            rss_bytes: None,
            cpu_seconds: None,
            streams: vec![crate::status::example(), crate::status::example()],
        };
        let mut sums = Sums::default();
        status.streams.iter().for_each(|stream| sums.add(stream));
        let text = encode(&registry(&status, &sums).unwrap()).unwrap();
        for line in [
            "shoal_agent_received_bytes_total{source=\"peer\"} 6500000",
            "shoal_agent_fallback_total{reason=\"deadline\"} 4",
            "shoal_agent_build_info{version=\"1.2.3\"} 1",
            "shoal_agent_streams 2",
        ] {
            assert!(text.lines().any(|l| l == line), "{line} is not in\n{text}");
        }
    }
}
