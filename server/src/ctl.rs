//! `shoal-server ctl`: asks a running server through its control interface.
//!
//! Rule: it knows the interface, not the server: all that it does another program can do as well.

use crate::net::{SPEAKS_TLS, client};
use anyhow::{Context, Result, bail};
use clap::Subcommand;
use serde_json::{Value, json};
use std::fmt::Write;
use std::time::Duration;

/// Longer than a trace waits for a segment and its viewers.
const TIMEOUT: Duration = Duration::from_secs(75);

/// What to ask, and where.
#[derive(Debug, clap::Args)]
pub struct Order {
    /// The operator's listener of the server (its admin_listen).
    #[arg(long, global = true, env = "SHOAL_ADMIN", default_value = "http://127.0.0.1:9090")]
    #[arg(value_name = "URL")]
    admin: String,
    /// Print what the server answers, as JSON.
    #[arg(long, global = true)]
    json: bool,
    #[command(subcommand)]
    what: What,
}

#[derive(Debug, Subcommand)]
enum What {
    /// List the streams.
    Streams,
    /// Show one stream, with its newest objects, as JSON.
    Stream { stream: String },
    /// Show one viewer, by the name that its page or agent shows.
    Viewer { stream: String, viewer: String },
    /// End a viewer's session; it goes on over plain HTTP.
    Kick { stream: String, viewer: String },
    /// End a viewer's session and let nobody join from its address for a time.
    Ban {
        stream: String,
        viewer: String,
        /// For how long.
        #[arg(long, default_value = "3600")]
        seconds: u64,
    },
    /// Switch a stream's peers on or off, or those of all streams: peers are used where both
    /// switches are on.
    Peers {
        /// On or off.
        state: Switch,
        #[command(flatten)]
        of: Streams,
    },
    /// Begin a new epoch of a stream, as if its encoder had begun anew.
    Epoch { stream: String },
    /// Follow the next segment from its publication to the last viewer.
    Trace { stream: String },
    /// Stop the server gently: not ready, viewers told to come back elsewhere, end.
    Drain,
}

#[derive(Debug, clap::Args)]
#[group(required = true, multiple = false)]
struct Streams {
    /// The stream.
    stream: Option<String>,
    /// All streams.
    #[arg(long)]
    all: bool,
}

#[derive(Clone, Copy, Debug, clap::ValueEnum)]
enum Switch {
    On,
    Off,
}

impl Order {
    /// Asks, and returns what to print.
    ///
    /// # Errors
    /// The server is not reached, or it says why not.
    pub async fn carry_out(&self) -> Result<String> {
        let (path, body) = self.what.request();
        let url = format!("{}/api/v1/{path}", self.admin.trim_end_matches('/'));
        let secure = self.admin.starts_with("https:");
        if secure && !SPEAKS_TLS {
            bail!("--admin: https needs a shoal-server that was built with the feature `tls`");
        }
        let builder = reqwest::Client::builder().no_proxy().timeout(TIMEOUT);
        let client = client(builder, secure).map_err(anyhow::Error::msg)?;
        let request = match &body {
            None => client.get(&url),
            Some(body) => {
                client.post(&url).header("content-type", "application/json").body(body.to_string())
            }
        };
        let unreached = || {
            format!("no server answers at {}: say where with --admin http://HOST:PORT", self.admin)
        };
        let response = request.send().await.with_context(unreached)?;
        let status = response.status();
        let text = response.text().await?;
        let answer: Value = serde_json::from_str(&text)
            .with_context(|| format!("{url} is no control interface of a shoal-server"))?;
        if !status.is_success() {
            bail!("{}", answer["error"].as_str().unwrap_or("the server refused"));
        }
        let is_table = !self.json && matches!(self.what, What::Streams | What::Trace { .. });
        if !is_table {
            return Ok(format!("{}\n", serde_json::to_string_pretty(&answer)?));
        }
        Ok(if matches!(self.what, What::Streams) { streams(&answer) } else { trace(&answer) })
    }
}

impl What {
    /// Path under `/api/v1/`, and a body if something is to change.
    fn request(&self) -> (String, Option<Value>) {
        match self {
            Self::Streams => ("streams".into(), None),
            Self::Stream { stream } => (format!("streams/{stream}"), None),
            Self::Viewer { stream, viewer } => (format!("streams/{stream}/viewers/{viewer}"), None),
            Self::Kick { stream, viewer } => {
                (format!("streams/{stream}/viewers/{viewer}/kick"), Some(json!({})))
            }
            Self::Ban { stream, viewer, seconds } => {
                let body = json!({ "seconds": seconds });
                (format!("streams/{stream}/viewers/{viewer}/ban"), Some(body))
            }
            Self::Peers { state, of: Streams { stream, .. } } => {
                let body = json!({ "enabled": matches!(state, Switch::On) });
                let of = stream.as_ref().map_or("peers".into(), |it| format!("streams/{it}/peers"));
                (of, Some(body))
            }
            Self::Epoch { stream } => (format!("streams/{stream}/epoch"), Some(json!({}))),
            Self::Trace { stream } => (format!("streams/{stream}/trace"), None),
            Self::Drain => ("drain".into(), Some(json!({}))),
        }
    }
}

/// A line for each stream.
fn streams(answer: &Value) -> String {
    let mut text = format!(
        "{:<20} {:>7} {:>8} {:>6} {:>10} {:>10} {:>8}\n",
        "stream", "viewers", "offload", "peers", "delivered", "sent", "stalls"
    );
    for stream in answer.as_array().into_iter().flatten() {
        let total = |name: &str| stream["totals"][name].as_u64().unwrap_or(0);
        let (delivered, sent) = (total("delivered"), stream["egress_bytes"].as_u64().unwrap_or(0));
        let offload = if delivered == 0 {
            "-".to_owned()
        } else {
            format!("{:.3}", 1.0 - sent as f64 / delivered as f64)
        };
        let line = writeln!(
            text,
            "{:<20} {:>7} {:>8} {:>6} {:>10} {:>10} {:>7.1}s",
            stream["stream"].as_str().unwrap_or_default(),
            stream["viewers"].as_u64().unwrap_or(0),
            offload,
            if stream["peers_enabled"].as_bool() == Some(true) { "on" } else { "off" },
            megabytes(delivered),
            megabytes(sent),
            total("stalled_ms") as f64 / 1000.0,
        );
        line.expect("writing to a string cannot fail");
    }
    text
}

fn megabytes(bytes: u64) -> String {
    format!("{:.1} MB", bytes as f64 / 1e6)
}

/// Who had the segment when.
fn trace(answer: &Value) -> String {
    let millis = |value: &Value| value.as_u64().map_or("-".to_owned(), |ms| format!("{ms} ms"));
    let arrivals: Vec<&Value> = answer["arrivals"].as_array().into_iter().flatten().collect();
    let missing = answer["missing"].as_array().map_or(0, Vec::len);
    let mut text = format!(
        "segment {} ({} of {}), published at 0 ms\n{:>9}  {:<16} {:>4}  {}\n",
        answer["object"].as_str().unwrap_or_default(),
        megabytes(answer["bytes"].as_u64().unwrap_or(0)),
        millis(&answer["duration_ms"]),
        "after",
        "viewer",
        "hops",
        "fed by, one for each substream"
    );
    for arrival in &arrivals {
        let parents = arrival["parents"].as_array().into_iter().flatten();
        let parents: Vec<&str> = parents.map(|it| it.as_str().unwrap_or("origin")).collect();
        let note =
            if arrival["fell_back"].as_bool() == Some(true) { " (origin helped)" } else { "" };
        let line = writeln!(
            text,
            "{:>9}  {:<16} {:>4}  {}{note}",
            millis(&arrival["after_ms"]),
            arrival["peer"].as_str().unwrap_or_default(),
            arrival["hops"]
                .as_u64()
                .filter(|hops| *hops > 0)
                .map_or("-".into(), |it| it.to_string()),
            parents.join(" "),
        );
        line.expect("writing to a string cannot fail");
    }
    let line = writeln!(
        text,
        "{} have it: half after {}, 95 % after {}, all after {}; {missing} did not say so",
        arrivals.len(),
        millis(&answer["p50_ms"]),
        millis(&answer["p95_ms"]),
        millis(&answer["last_ms"]),
    );
    line.expect("writing to a string cannot fail");
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_trace_is_told_line_by_line() {
        let answer = json!({
            "object": "0-1-7", "bytes": 500_000, "duration_ms": 2000,
            "p50_ms": 120, "p95_ms": 300, "last_ms": 300, "missing": ["c"],
            "arrivals": [
                {"peer": "a", "after_ms": 120, "hops": 1, "parents": [null, "b"], "fell_back": false},
                {"peer": "b", "after_ms": 300, "hops": 0, "parents": ["a"], "fell_back": true},
            ],
        });
        let text = trace(&answer);
        assert!(text.contains("0-1-7 (0.5 MB of 2000 ms)"), "{text}");
        assert!(text.contains("origin b\n") && text.contains("(origin helped)"), "{text}");
        assert!(
            text.contains("2 have it: half after 120 ms") && text.contains("1 did not"),
            "{text}"
        );
    }

    #[test]
    fn streams_show_their_offload() {
        let answer = json!([
            {"stream": "cam", "viewers": 8, "peers_enabled": true, "egress_bytes": 130_000_000,
             "totals": {"delivered": 1_000_000_000, "stalled_ms": 1500}},
            {"stream": "quiet", "viewers": 0, "peers_enabled": false, "egress_bytes": 10,
             "totals": {"delivered": 0, "stalled_ms": 0}},
        ]);
        let text = streams(&answer);
        let fields = |line: usize| -> Vec<&str> {
            text.lines().nth(line).unwrap().split_whitespace().collect()
        };
        assert_eq!(fields(1)[..4], ["cam", "8", "0.870", "on"], "{text}");
        assert_eq!(fields(2)[..4], ["quiet", "0", "-", "off"], "{text}");
    }
}
