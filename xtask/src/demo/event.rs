//! The live event itself: joins, faults, one sample per second, the end.
//!
//! Rule: sampling and acting happen on whole seconds after the first join, in that order, so that
//! every window of a figure begins and ends on a sample.

use super::Signals;
use super::args::Args;
use super::browsers::Browsers;
use super::clock;
use super::figures::{self, Outcome, PlayerFigures, Sample, ViewerFigures};
use super::lock;
use super::low_latency;
use super::pages;
use super::player::Player;
use super::report;
use super::stage::Stage;
use super::table::{Display, Row, Totals};
use super::title;
use super::viewer::Viewer;
use anyhow::Result;
use serde_json::{Map, Value};
use std::time::Duration;

/// What is still on its way at the end is waited for so long before it is compared.
const LAST_DELIVERIES: Duration = Duration::from_secs(2);
/// A page that shows nothing keeps the next viewer waiting for so long: loading one takes a core
/// for a while, and viewers' machines are not one machine.
const PAGE_STARTS_S: u64 = 5;

struct Event<'a> {
    args: &'a Args,
    stage: Stage<'a>,
    /// Who joins, one after the other.
    order: Vec<Joiner>,
    /// When the first of them did, in seconds of the run.
    join_seconds: Vec<u64>,
    samples: Vec<Sample>,
    ended_s: Vec<Option<f64>>,
    joined_s: Vec<Option<f64>>,
    has_died: Vec<bool>,
    server_cpu_at_start_s: Option<f64>,
}

/// A viewer that is about to join.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Joiner {
    /// The agent with this index.
    Agent(u8),
    /// The page with this index.
    Page(u8),
}

/// Agents and pages in turn, for as long as there are both.
fn order(agents: u8, pages: u8) -> Vec<Joiner> {
    let turn = |n: u8| {
        let agent = (n < agents).then_some(Joiner::Agent(n));
        agent.into_iter().chain((n < pages).then_some(Joiner::Page(n)))
    };
    (0..agents.max(pages)).flat_map(turn).collect()
}

/// Runs the event and reports.
pub(crate) async fn run(args: &Args, stage: Stage<'_>, mut signals: Signals) -> Result<()> {
    let viewers = stage.viewers.len();
    let mut event = Event {
        args,
        order: order(args.viewers, args.browsers),
        join_seconds: Vec::new(),
        samples: Vec::new(),
        ended_s: vec![None; viewers],
        joined_s: vec![None; viewers],
        has_died: vec![false; viewers],
        server_cpu_at_start_s: stage.origin.usage().map(|usage| usage.cpu_s),
        stage,
    };
    event.introduce();
    event.play(&mut signals).await?;
    event.finish().await
}

impl Event<'_> {
    fn introduce(&self) {
        println!("watch:       {}", self.stage.around.page_url);
        println!("operate:     {}", self.stage.origin.operator_url());
        if self.args.end().is_none() {
            if let Some(viewer) = self.stage.viewers.first() {
                println!("play along:  mpv {}", viewer.player_url(&self.stage.around));
            }
            println!("without us:  mpv {}", self.stage.around.mirror_url);
            println!("Ctrl-C ends the demo");
        }
    }

    async fn play(&mut self, signals: &mut Signals) -> Result<()> {
        let mut display = Display::default();
        let mut ticks = tokio::time::interval(Duration::from_secs(1));
        let end = self.args.end();
        for second in 0..=end.unwrap_or(u64::MAX) {
            tokio::select! {
                _ = ticks.tick() => {}
                () = signals.next() => return Ok(()),
            }
            self.sample(second).await;
            display.show(&self.rows(), &self.totals());
            if Some(second) == end {
                break;
            }
            self.act(second).await?;
            self.stage.check_running()?;
        }
        Ok(())
    }

    async fn sample(&mut self, second: u64) {
        if let Err(error) = self.stage.origin.refresh().await {
            eprintln!("second {second}: the server's status: {error:#}");
        }
        let kernel_bytes =
            self.stage.counter.as_ref().and_then(|counter| counter.payload_bytes().ok());
        for viewer in &mut self.stage.viewers {
            viewer.sample_usage();
            let died = &mut self.has_died[usize::from(viewer.index)];
            if let (Err(error), false) = (viewer.check_running(), *died) {
                eprintln!("second {second}: {error:#}");
                *died = true;
            }
        }
        let agents: u64 = self.stage.viewers.iter().map(|viewer| viewer.seen().media_bytes).sum();
        let pages = self.stage.browsers.as_mut().map_or(0, |browsers| {
            browsers.sample_usage();
            (0..self.args.browsers).map(|index| browsers.page(index).delivered()).sum()
        });
        let mut egress = self.stage.origin.egress();
        if let Some(cdn) = &self.stage.cdn {
            match cdn.sent() {
                Ok(sent) => egress.cdn = sent.viewers,
                Err(error) => eprintln!("second {second}: the CDN's log: {error:#}"),
            }
        }
        self.samples.push(Sample {
            second,
            at_s: clock::unix_s(),
            egress,
            kernel_bytes,
            delivered: agents + pages,
        });
    }

    async fn act(&mut self, second: u64) -> Result<()> {
        if let Some(&joiner) = self.order.get(self.join_seconds.len())
            && self.join_seconds.last().is_none_or(|last| second >= last + self.args.stagger)
            && self.last_has_begun(second)
        {
            self.join_seconds.push(second);
            self.join(joiner).await?;
        }
        title::seek(self.args, second, &self.stage.viewers).await;
        if let Some(kill) = self.args.kill.filter(|kill| kill.second == second) {
            self.kill_strongest(usize::from(kill.count)).await;
        }
        if self.args.restart_server == Some(second) {
            eprintln!("second {second}: kill -9 of the server, and restart");
            self.stage.origin.crash_and_restart().await?;
        }
        Ok(())
    }

    /// Whether the viewer that joined last is no longer starting.
    fn last_has_begun(&self, second: u64) -> bool {
        let last = self.order.iter().zip(&self.join_seconds).next_back();
        let (Some((&Joiner::Page(index), &joined)), Some(browsers)) = (last, &self.stage.browsers)
        else {
            return true;
        };
        let has_begun = |is_twin| browsers.figures(index, is_twin).startup_s.is_some();
        second >= joined + PAGE_STARTS_S
            || (has_begun(false) && (!self.args.twins || has_begun(true)))
    }

    async fn join(&mut self, joiner: Joiner) -> Result<()> {
        match joiner {
            Joiner::Page(index) => self.open_page(index).await,
            Joiner::Agent(index) => {
                self.joined_s[usize::from(index)] = Some(clock::unix_s());
                self.stage.viewers[usize::from(index)].join(&self.stage.around)
            }
        }
    }

    async fn open_page(&mut self, index: u8) -> Result<()> {
        let Stage { browsers: Some(browsers), around, .. } = &mut self.stage else {
            return Ok(());
        };
        let picture = around.folder.join(format!("page-{index}.png"));
        let picture = self.args.keep.is_some().then_some(picture.as_path());
        // Nobody looks at a headless page: nothing moves in it but the video.
        let url = format!("{}?quiet=1", around.page_url);
        let clock = self.args.low_latency;
        browsers.open(index, false, &url, (picture, clock)).await?;
        if around.has_twins {
            let url = format!("{url}&peers=unused&src={}", around.mirror_url);
            browsers.open(index, true, &url, (None, clock)).await?;
        }
        Ok(())
    }

    /// Kills the agents that gave most to their peers: their loss hurts most.
    async fn kill_strongest(&mut self, count: usize) {
        let mut viewers: Vec<&mut Viewer> = self.stage.viewers.iter_mut().collect();
        viewers.sort_by_key(|viewer| std::cmp::Reverse(viewer.seen().total("to_peers")));
        for viewer in viewers.into_iter().take(count) {
            eprintln!("kill -9 of agent {} and its player", viewer.index + 1);
            viewer.kill().await;
            self.ended_s[usize::from(viewer.index)] = Some(clock::unix_s());
        }
    }

    fn rows(&self) -> Vec<Row> {
        let row = |viewer: &Viewer| {
            let seen = viewer.seen();
            let playback = viewer.player().map(Player::figures).unwrap_or_default();
            let suffix = if viewer.is_killed() { " (killed)" } else { "" };
            Row {
                name: format!("{}{suffix}", viewer.index + 1),
                from_origin: seen.total("from_origin"),
                from_peers: seen.total("from_peers"),
                to_peers: seen.total("to_peers"),
                neighbours: seen.neighbours(),
                buffer_ms: seen.buffer_ms(),
                latency_s: playback.latency_s,
                stalls: playback.stalls.len(),
            }
        };
        let pages =
            self.stage.browsers.iter().flat_map(|browsers| {
                (0..self.args.browsers).map(|index| pages::row(index, browsers))
            });
        self.stage.viewers.iter().map(row).chain(pages).collect()
    }

    fn totals(&self) -> Totals {
        let outcome = self.outcome();
        Totals {
            second: outcome.samples.last().map_or(0, |sample| sample.second),
            offload: outcome.offload(),
            offload_steady: outcome.offload_steady(),
            bound: figures::bound(self.args.total()),
            copies: outcome.copies_steady(),
            mismatched: outcome.tally.mismatched,
        }
    }

    fn outcome(&self) -> Outcome {
        let reference = lock(&self.stage.around.reference).tally();
        let usage = self.stage.origin.usage();
        let server_cpu_s = usage
            .zip(self.server_cpu_at_start_s)
            .filter(|_| self.args.restart_server.is_none())
            .map(|(usage, start_s)| usage.cpu_s - start_s);
        let count = |name: &str| (name.to_owned(), self.stage.origin.tracker_count(name).into());
        let agents = self.stage.viewers.iter().map(|viewer| self.viewer(viewer));
        let browsers = self.stage.browsers.as_ref();
        let pages = browsers.into_iter().flat_map(|browsers| {
            let page = |index| pages::figures(index, browsers, self.args.twins);
            (0..self.args.browsers).map(page)
        });
        let seen: Vec<_> = self.stage.viewers.iter().map(Viewer::seen).collect();
        let mut pages_json =
            browsers.map(|browsers| pages::together(self.args, browsers, &seen, self.page_s()));
        if let (Some(pages_json), Some(browsers)) = (&mut pages_json, browsers) {
            pages_json.extend(self.low_latency(browsers));
        }
        Outcome {
            viewers: self.args.total(),
            last_join_second: self.join_seconds.last().copied().unwrap_or(0),
            pages: pages_json.unwrap_or_default(),
            title: Map::new(),
            samples: self.samples.clone(),
            per_viewer: agents.chain(pages).collect(),
            objects: match &self.stage.cdn {
                Some(cdn) => cdn.copies(),
                None => self.stage.origin.objects().copied().collect(),
            },
            cdn: self.stage.cdn.as_ref().and_then(|cdn| cdn.sent().ok()),
            tally: reference,
            kill: self.args.kill.map(|kill| (kill.second, kill.count)),
            tracker: ["links_up", "links_failed", "plan_changes"].map(count).into_iter().collect(),
            server_rss_bytes: usage.map(|usage| usage.rss_bytes),
            server_cpu_s,
        }
    }

    /// What is known of latency by the clock in the picture, in the steady state.
    fn low_latency(&self, browsers: &Browsers) -> Map<String, Value> {
        let from = self.join_seconds.last().map(|joined| joined + figures::SETTLING_S);
        let from = self.samples.iter().find(|sample| Some(sample.second) == from);
        let (Some(from), Some(to), true) = (from, self.samples.last(), self.args.low_latency)
        else {
            return Map::new();
        };
        let objects: Vec<_> = self.stage.origin.objects().copied().collect();
        let window_s = (from.at_s, to.at_s - figures::ON_ITS_WAY_S);
        low_latency::figures((self.args.browsers, self.args.twins), browsers, &objects, window_s)
    }

    /// Seconds that all pages together were open, twins among them.
    fn page_s(&self) -> f64 {
        let last = self.samples.last().map_or(0, |sample| sample.second);
        let open = self.order.iter().zip(&self.join_seconds).filter(|(joiner, _)| match joiner {
            Joiner::Agent(_) => false,
            Joiner::Page(_) => true,
        });
        let seconds: u64 = open.map(|(_, &second)| last.saturating_sub(second)).sum();
        seconds as f64 * if self.args.twins { 2.0 } else { 1.0 }
    }

    fn viewer(&self, viewer: &Viewer) -> ViewerFigures {
        let index = usize::from(viewer.index);
        let seen = viewer.seen();
        let end_s = self.ended_s[index].or(self.samples.last().map(|sample| sample.at_s));
        let watched_s = end_s.zip(self.joined_s[index]).map(|(end_s, start_s)| end_s - start_s);
        let counts = [
            "from_origin",
            "from_peers",
            "wasted",
            "to_peers",
            "hash_mismatches",
            "fallbacks",
            "stalled_ms",
        ];
        let mut agent: Map<String, Value> =
            counts.iter().map(|&name| (name.to_owned(), seen.total(name).into())).collect();
        agent.insert("neighbours".into(), seen.neighbours().into());
        agent.insert("fallback_reasons".into(), seen.fallback_reasons());
        agent.insert("corrupt".into(), (viewer.index < self.args.corrupt).into());
        ViewerFigures {
            player: viewer.player().map(Player::figures).unwrap_or_default(),
            twin: viewer.twin().map(Player::figures),
            delivered: seen.media_bytes,
            agent,
            cpu_s: viewer.usage().map(|usage| usage.cpu_s),
            rss_bytes: viewer.usage().map(|usage| usage.rss_bytes),
            watched_s: watched_s.unwrap_or(0.0).max(0.0),
            is_page: false,
            is_killed: viewer.is_killed(),
        }
    }

    async fn finish(mut self) -> Result<()> {
        for viewer in &mut self.stage.viewers {
            viewer.end_player().await;
        }
        tokio::time::sleep(LAST_DELIVERIES).await;
        let second_showing = match self.args.vod {
            Some(_) => title::show_again(&mut self.stage).await?,
            None => Map::new(),
        };
        let now_s = clock::unix_s();
        lock(&self.stage.around.reference).settle(now_s);
        let mut outcome = self.outcome();
        if self.args.vod.is_some() {
            outcome.title = title::figures(&outcome.per_viewer);
            outcome.title.extend(second_showing);
        }
        let player = self.stage.around.player;
        let stubborn = self.stage.tear_down().await;
        report::write(self.args, player, &outcome, &stubborn)
    }
}

impl Player {
    /// Its playback so far.
    pub(crate) fn figures(&self) -> PlayerFigures {
        let playback = self.playback();
        PlayerFigures {
            startup_s: playback.startup_s(),
            latency_s: playback.latency_s(),
            stalls: playback.stalls().to_vec(),
            seeks: playback.seeks().to_vec(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn agents_and_pages_join_in_turn() {
        use Joiner::{Agent, Page};
        assert_eq!(order(2, 3), [Agent(0), Page(0), Agent(1), Page(1), Page(2)]);
        assert_eq!(order(0, 1), [Page(0)]);
        assert_eq!(order(2, 0), [Agent(0), Agent(1)]);
    }
}
