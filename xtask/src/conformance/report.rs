//! The table, in Markdown and as JSON.
//!
//! Rule: pure; it counts and words what the cells say. A cell that does not pass has a note with the
//! reason and with how the same player does on the plain stream.

use super::cell::Cell;
use super::clients::Client;
use super::streams::Stream;
use serde_json::{Value, json};
use std::fmt::Write as _;

/// Where the table stands in a file.
const BEGIN: &str = "<!-- conformance -->";
const END: &str = "<!-- /conformance -->";

/// Bugs of players, with where they are told of: stream, player, and the words.
const KNOWN: &[(&str, Client, &str)] = &[];

/// All that there is to report.
#[derive(Debug)]
pub(crate) struct Report<'a> {
    /// Rows.
    pub(crate) streams: &'a [&'a Stream],
    /// Columns.
    pub(crate) clients: &'a [Client],
    /// What was played.
    pub(crate) cells: &'a [Cell],
    /// Versions of the players, by title.
    pub(crate) versions: &'a [(String, String)],
}

impl Report<'_> {
    fn cell(&self, stream: &str, client: Client) -> Option<&Cell> {
        self.cells.iter().find(|cell| cell.stream == stream && cell.client == client)
    }

    /// The table with what is to be said of it.
    pub(crate) fn markdown(&self) -> String {
        let titles = self.clients.iter().map(|client| client.title());
        let mut text = format!("| stream | {} |\n", titles.collect::<Vec<_>>().join(" | "));
        text += &format!("|---|{}\n", ":-:|".repeat(self.clients.len()));
        let mut notes = Vec::new();
        for stream in self.streams {
            let _ = write!(text, "| {} |", stream.covers);
            for &client in self.clients {
                let word = match self.cell(stream.name, client) {
                    None => "not run".to_owned(),
                    Some(cell) if cell.passes() => "✓".to_owned(),
                    Some(cell) => {
                        notes.push(note(stream, cell));
                        format!("✗ ({})", notes.len())
                    }
                };
                let _ = write!(text, " {word} |");
            }
            text.push('\n');
        }
        text.push('\n');
        for (number, note) in (1..).zip(&notes) {
            let _ = writeln!(text, "{number}. {note}");
        }
        let gap = if notes.is_empty() { "" } else { "\n" };
        text + gap + &self.summary() + "\n"
    }

    /// One paragraph of counts.
    pub(crate) fn summary(&self) -> String {
        let passed = self.cells.iter().filter(|cell| cell.passes()).count();
        let bodies: usize = self.cells.iter().map(|cell| cell.comparison.same).sum();
        let different: usize = self.cells.iter().map(|cell| cell.comparison.different.len()).sum();
        let peers: u64 = self.cells.iter().map(|cell| cell.sources.peers).sum();
        let origin: u64 = self.cells.iter().map(|cell| cell.sources.origin).sum();
        let share = 100.0 * peers as f64 / (peers + origin).max(1) as f64;
        let versions = self.versions.iter().map(|(name, version)| format!("{name} {version}"));
        format!(
            "{passed} of {} cells pass. {} bodies were compared with the origin's own answers, \
             {different} differ; {share:.0} % of the media bytes came from another viewer. {}.",
            self.cells.len(),
            bodies + different,
            versions.collect::<Vec<_>>().join(", ")
        )
    }

    /// Everything, for machines.
    pub(crate) fn json(&self) -> Value {
        let cells = self.cells.iter().map(|cell| {
            json!({
                "stream": cell.stream,
                "client": cell.client.name(),
                "passes": cell.passes(),
                "played_s": cell.played_s,
                "bodies_same": cell.comparison.same,
                "bodies_different": cell.comparison.different,
                "refused": cell.comparison.refused,
                "from_peers": cell.sources.peers,
                "from_origin": cell.sources.origin,
                "failure": cell.failure,
                "plain_failure": cell.plain_failure,
            })
        });
        let versions: serde_json::Map<_, _> =
            self.versions.iter().map(|(name, version)| (name.clone(), json!(version))).collect();
        json!({ "versions": versions, "cells": cells.collect::<Vec<_>>() })
    }
}

/// A player's words without what is of this run only: ports.
fn lasting(words: &str) -> String {
    let mut parts = words.split("127.0.0.1:");
    let first = parts.next().unwrap_or_default().to_owned();
    parts.fold(first, |text, part| {
        text + "HOST" + part.trim_start_matches(|c: char| c.is_ascii_digit())
    })
}

fn note(stream: &Stream, cell: &Cell) -> String {
    let failure = lasting(cell.failure.as_deref().unwrap_or_default());
    let plain = match cell.plain_failure.as_deref().map(lasting) {
        None => "it plays the plain stream".to_owned(),
        Some(plain) if plain == failure => "the plain stream fails in the same way".to_owned(),
        Some(plain) => format!("the plain stream fails as well ({plain})"),
    };
    let known =
        KNOWN.iter().find(|(name, client, _)| *name == stream.name && *client == cell.client);
    let known = known.map_or(String::new(), |(_, _, words)| format!("; {words}"));
    format!("{}, {}: {failure}; {plain}{known}.", cell.client.title(), stream.covers)
}

/// `file` with the table between its marks, if it has them.
pub(crate) fn written(file: &str, table: &str) -> Option<String> {
    let begin = file.find(BEGIN)? + BEGIN.len();
    let end = begin + file[begin..].find(END)?;
    Some(format!("{}\n{table}{}", &file[..begin], &file[end..]))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::conformance::forwarder::Comparison;
    use crate::conformance::stage::Sources;
    use crate::conformance::streams::STREAMS;

    fn cell(stream: usize, client: Client, failure: Option<&str>) -> Cell {
        Cell {
            stream: STREAMS[stream].name,
            client,
            played_s: 16.0,
            comparison: Comparison { same: 8, ..Comparison::default() },
            sources: Sources { peers: 300, origin: 100 },
            failure: failure.map(str::to_owned),
            plain_failure: failure.filter(|_| stream > 0).map(str::to_owned),
        }
    }

    #[test]
    fn what_fails_has_a_note_and_what_was_not_run_says_so() {
        let refused = Some("no 127.0.0.1:8090/x");
        let cells = [
            cell(0, Client::Ffmpeg, None),
            cell(0, Client::Mpv, refused),
            cell(1, Client::Ffmpeg, refused),
        ];
        let streams: Vec<&Stream> = STREAMS[..2].iter().collect();
        let clients = [Client::Ffmpeg, Client::Mpv];
        let versions = [("mpv".to_owned(), "1".to_owned())];
        let report =
            Report { streams: &streams, clients: &clients, cells: &cells, versions: &versions };
        let text = report.markdown();
        assert!(text.contains("| MPEG-TS, VOD | ✓ | ✗ (1) |"), "{text}");
        assert!(text.contains("| ✗ (2) | not run |"), "{text}");
        let same = ": no HOST/x; the plain stream fails in the same way.\n\n1 of 3 cells";
        assert!(text.contains(same), "{text}");
        let note = "1. mpv, MPEG-TS, VOD: no HOST/x; it plays the plain stream.";
        assert!(text.contains(note), "{text}");
        assert!(text.contains("1 of 3 cells pass. 24 bodies"), "{text}");
        assert!(text.contains("75 % of the media"), "{text}");
    }

    #[test]
    fn the_table_is_written_between_its_marks() {
        let file = format!("a\n{BEGIN}\nold\n{END}\nb\n");
        assert_eq!(written(&file, "new\n"), Some(format!("a\n{BEGIN}\nnew\n{END}\nb\n")));
        assert_eq!(written("a", "new"), None);
    }
}
