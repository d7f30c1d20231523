//! ffmpeg reading the stream at its native speed, observed over its progress output.
//!
//! Rule: the first progress beyond zero is the first frame, and the progress is the position. It
//! does not say when it waits: a stall shows as a position that is late.

use super::super::process::Process;
use super::{Record, Setup, launch};
use anyhow::{Context, Result};
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::task::JoinHandle;

pub(super) fn start(setup: &Setup<'_>, record: Record) -> Result<(Process, JoinHandle<()>)> {
    let options = "-nostdin -hide_banner -loglevel error -progress pipe:1 -stats_period 0.1 -re -i";
    let mut process = launch(setup, "ffmpeg")
        .args(options.split_whitespace())
        .args([setup.url.as_str()])
        .args((!setup.shows_video).then_some("-vn"))
        .args(["-c", "copy", "-f", "null", "-"])
        .piped()
        .spawn()?;
    let output = process.take_stdout().context("ffmpeg has no standard output")?;
    let listener = tokio::spawn(async move {
        let mut lines = BufReader::new(output).lines();
        while let Ok(Some(line)) = lines.next_line().await {
            let position_us = line.strip_prefix("out_time_us=").and_then(|us| us.parse().ok());
            if let Some(position_us) = position_us.filter(|us: &f64| *us > 0.0) {
                record.first_frame();
                record.since_start(position_us / 1e6);
            }
        }
        record.ended();
    });
    Ok((process, listener))
}
