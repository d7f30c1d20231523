//! One cell: a player plays a stream through Shoal, and where it does not, plainly.
//!
//! Rule: a cell passes if the player played to the end and every body that it was given is the
//! origin's. One that does not pass is played once more from the encoder's own files, to tell whose
//! fault it is.

use super::clients::browser::Browser;
use super::clients::{self, Client, Goal};
use super::forwarder::{Comparison, Forwarder};
use super::stage::{Agent, Programs, Sources};
use anyhow::Result;
use std::path::Path;

/// Where a stream is to be had.
#[derive(Clone, Debug)]
pub(crate) struct Place<'a> {
    /// Programs.
    pub(crate) programs: &'a Programs,
    /// Folder for logs.
    pub(crate) folder: &'a Path,
    /// Chromium, if a page is to play.
    pub(crate) browser: Option<&'a Browser>,
    /// The stream's name.
    pub(crate) stream: &'static str,
    /// `HOST:PORT` of the origin.
    pub(crate) origin: &'a str,
    /// Path of the playlist there.
    pub(crate) path: &'a str,
    /// URL of the same without us.
    pub(crate) plain_url: &'a str,
    /// When it counts as played.
    pub(crate) goal: Goal,
    /// Why it is not to be had at all: then only the plain stream is played.
    pub(crate) refusal: Option<String>,
}

/// A cell's result.
#[derive(Clone, Debug)]
pub(crate) struct Cell {
    /// Row.
    pub(crate) stream: &'static str,
    /// Column.
    pub(crate) client: Client,
    /// Seconds played.
    pub(crate) played_s: f64,
    /// Bodies compared, and what was wrong with them.
    pub(crate) comparison: Comparison,
    /// Where the media came from.
    pub(crate) sources: Sources,
    /// Why it does not pass.
    pub(crate) failure: Option<String>,
    /// Where it does not pass: how the same player does with the plain stream; none if it plays.
    pub(crate) plain_failure: Option<String>,
}

impl Cell {
    /// Whether it passes.
    pub(crate) const fn passes(&self) -> bool {
        self.failure.is_none()
    }
}

impl Place<'_> {
    /// Plays the cell of `client`.
    pub(crate) async fn play(&self, client: Client) -> Cell {
        let mut cell = Cell {
            stream: self.stream,
            client,
            played_s: 0.0,
            comparison: Comparison::default(),
            sources: Sources::default(),
            failure: None,
            plain_failure: None,
        };
        let played = match &self.refusal {
            Some(refusal) => Ok(Some(refusal.clone())),
            None if client == Client::HlsJs => self.play_in_page(&mut cell).await,
            None => self.play_through_agent(&mut cell).await,
        };
        cell.failure = match played {
            Err(error) => Some(format!("{error:#}")),
            Ok(Some(shortfall)) => Some(shortfall),
            Ok(None) if !cell.comparison.different.is_empty() => {
                Some(format!("other bytes than the origin's: {}", cell.comparison.different[0]))
            }
            Ok(None) if cell.comparison.same == 0 => Some("nothing was compared".into()),
            Ok(None) => None,
        };
        if cell.failure.is_some() {
            cell.plain_failure = match self.play_plain(client).await {
                Ok(shortfall) => shortfall,
                Err(error) => Some(format!("{error:#}")),
            };
        }
        cell
    }

    async fn play_in_page(&self, cell: &mut Cell) -> Result<Option<String>> {
        let url = format!("http://{}{}", self.origin, self.path);
        let page = self.browser()?.play(cell.client, &url, &self.goal, false).await?;
        cell.played_s = page.outcome.played_s;
        cell.comparison = page.comparison;
        cell.sources = page.sources;
        Ok(page.outcome.shortfall(&self.goal))
    }

    async fn play_through_agent(&self, cell: &mut Cell) -> Result<Option<String>> {
        let name = format!("{}-{}", self.stream, cell.client.name());
        let agent_name = format!("{name}-agent");
        let mut agent = Agent::start(self.programs, self.folder, &agent_name, self.origin).await?;
        let forwarder = Forwarder::start(&agent.address).await?;
        agent.join(self.path).await?;
        let outcome = if cell.client.is_page() {
            let path = format!("{}/http/{}{}", agent.page_prefix().await?, self.origin, self.path);
            let url = format!("http://{}{path}", forwarder.address);
            self.browser()?.play(cell.client, &url, &self.goal, false).await?.outcome
        } else {
            let url = agent.url(&forwarder.address, self.path);
            clients::play(cell.client, &url, &self.goal, self.folder, &name).await?
        };
        cell.played_s = outcome.played_s;
        cell.sources = agent.sources().await;
        cell.comparison = forwarder.compare(self.origin).await;
        agent.stop().await;
        Ok(outcome.shortfall(&self.goal))
    }

    async fn play_plain(&self, client: Client) -> Result<Option<String>> {
        let outcome = if client.is_page() {
            self.browser()?.play(client, self.plain_url, &self.goal, true).await?.outcome
        } else {
            let name = format!("{}-{}-plain", self.stream, client.name());
            clients::play(client, self.plain_url, &self.goal, self.folder, &name).await?
        };
        Ok(outcome.shortfall(&self.goal))
    }

    fn browser(&self) -> Result<&Browser> {
        self.browser.ok_or_else(|| anyhow::anyhow!("no browser was started"))
    }
}
