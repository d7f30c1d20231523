//! What the demo shows while it runs: a table that updates on a terminal, plain lines elsewhere.
//!
//! Rule: it shows figures and computes none.

use comfy_table::presets::UTF8_HORIZONTAL_ONLY;
use comfy_table::{CellAlignment, Table};
use std::io::{IsTerminal, Write};

/// Seconds between plain lines.
const LINE_EVERY_S: u64 = 5;

/// One viewer's row.
#[derive(Clone, Debug, Default)]
pub(crate) struct Row {
    /// Its number, and whether it still lives.
    pub(crate) name: String,
    /// Media bytes that came from the origin.
    pub(crate) from_origin: u64,
    /// Media bytes that came from peers.
    pub(crate) from_peers: u64,
    /// Bytes given to peers.
    pub(crate) to_peers: u64,
    /// Open links.
    pub(crate) neighbours: usize,
    /// Media ahead of the player.
    pub(crate) buffer_ms: Option<u64>,
    /// Behind the live edge.
    pub(crate) latency_s: Option<f64>,
    /// Stalls so far.
    pub(crate) stalls: usize,
}

/// The line of totals.
#[derive(Clone, Debug, Default)]
pub(crate) struct Totals {
    /// Seconds since the first join.
    pub(crate) second: u64,
    /// Offload so far.
    pub(crate) offload: Option<f64>,
    /// In the steady state so far.
    pub(crate) offload_steady: Option<f64>,
    /// What is possible.
    pub(crate) bound: f64,
    /// Origin copies per segment in the steady state.
    pub(crate) copies: Option<f64>,
    /// Wrong segments.
    pub(crate) mismatched: u64,
}

/// The display.
#[derive(Debug, Default)]
pub(crate) struct Display {
    lines_drawn: usize,
}

impl Display {
    /// Shows the state of this second.
    pub(crate) fn show(&mut self, rows: &[Row], totals: &Totals) {
        let mut out = std::io::stdout();
        let text = if out.is_terminal() {
            let text = format!("{}\n{}", table(rows), line(totals));
            let up = self.lines_drawn;
            self.lines_drawn = text.lines().count();
            // Back to the first line of the last table, and clear from there.
            let back = if up > 0 { format!("\x1b[{up}A\x1b[J") } else { String::new() };
            format!("{back}{text}")
        } else if totals.second.is_multiple_of(LINE_EVERY_S) {
            let stalls: usize = rows.iter().map(|row| row.stalls).sum();
            format!("{}, {stalls} stalls", line(totals))
        } else {
            return;
        };
        // A closed standard output is no reason to end the run.
        let _ = writeln!(out, "{text}").and_then(|()| out.flush());
    }
}

fn table(rows: &[Row]) -> Table {
    let mut table = Table::new();
    table.load_style(UTF8_HORIZONTAL_ONLY);
    table.set_header([
        "viewer",
        "from origin",
        "from peers",
        "to peers",
        "neighbours",
        "buffer",
        "behind live",
        "stalls",
    ]);
    for row in rows {
        table.add_row([
            row.name.clone(),
            mib(row.from_origin),
            mib(row.from_peers),
            mib(row.to_peers),
            row.neighbours.to_string(),
            row.buffer_ms.map_or("-".into(), |ms| format!("{:.1} s", ms as f64 / 1000.0)),
            row.latency_s.map_or("-".into(), |seconds| format!("{seconds:.1} s")),
            row.stalls.to_string(),
        ]);
    }
    for column in table.column_iter_mut().skip(1) {
        column.set_cell_alignment(CellAlignment::Right);
    }
    table
}

fn line(totals: &Totals) -> String {
    let ratio = |value: Option<f64>| value.map_or("-".into(), |value| format!("{value:.3}"));
    format!(
        "{:>4} s  offload {} (steady {}) of {:.3} possible, {} origin copies per segment, {} \
         mismatched",
        totals.second,
        ratio(totals.offload),
        ratio(totals.offload_steady),
        totals.bound,
        totals.copies.map_or("-".into(), |copies| format!("{copies:.2}")),
        totals.mismatched
    )
}

fn mib(bytes: u64) -> String {
    format!("{:.1} MiB", bytes as f64 / (1024.0 * 1024.0))
}
