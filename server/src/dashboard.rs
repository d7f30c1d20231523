//! What the operator's page shows: one sampler for all who look, and the last ten minutes.
//!
//! Rule: looking costs the server one look a second, however many look. Trees are looked at only
//! while somebody does. Who reads too slowly misses frames; nothing waits in a queue.

mod history;
mod sample;

use crate::http::Meters;
use crate::metrics::Metrics;
use crate::origin::{Origin, unix_ms};
use crate::sessions::SessionEntry;
use crate::upstream::Upstreams;
use bytes::Bytes;
use history::History;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};
use tokio::time::MissedTickBehavior;

/// Time between two samples.
const INTERVAL: Duration = Duration::from_secs(1);
/// Samples between two looks at the trees: they change slowly, and a look costs more.
const FOREST_EVERY: u64 = 2;
/// Most pages that are open at once; each holds a connection and a frame.
const LOOKERS_MAX: usize = 64;

/// Where samples are taken from.
pub(crate) struct Sources {
    pub(crate) origin: Arc<Origin>,
    pub(crate) metrics: Arc<Metrics>,
    pub(crate) meters: Arc<Meters>,
    pub(crate) sessions: SessionEntry,
    pub(crate) upstreams: Arc<Upstreams>,
}

/// The newest sample and those before it.
#[derive(Debug)]
pub(crate) struct Dashboard {
    latest: watch::Sender<Frame>,
    history: Mutex<History>,
    lookers: Arc<Semaphore>,
}

/// What all who look are sent, serialised once.
#[derive(Clone, Debug, Default)]
struct Frame {
    /// JSON; empty before the first sample.
    sample: Bytes,
    /// JSON; empty until somebody looks.
    forests: Bytes,
    /// Grows with every look at the trees.
    forests_number: u64,
}

/// One open page.
#[derive(Debug)]
pub(crate) struct Looker {
    dashboard: Arc<Dashboard>,
    frames: watch::Receiver<Frame>,
    is_new: bool,
    forests_number: u64,
    _permit: OwnedSemaphorePermit,
}

impl Dashboard {
    pub(crate) fn new() -> Arc<Self> {
        let (latest, _) = watch::channel(Frame::default());
        let lookers = Arc::new(Semaphore::new(LOOKERS_MAX));
        Arc::new(Self { latest, history: Mutex::default(), lookers })
    }

    /// One more who looks; none when too many do.
    pub(crate) fn look(self: &Arc<Self>) -> Option<Looker> {
        let permit = Arc::clone(&self.lookers).try_acquire_owned().ok()?;
        Some(Looker {
            dashboard: Arc::clone(self),
            frames: self.latest.subscribe(),
            is_new: true,
            forests_number: 0,
            _permit: permit,
        })
    }

    fn history(&self) -> MutexGuard<'_, History> {
        self.history.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes samples for ever.
    pub(crate) async fn run(self: Arc<Self>, sources: Sources) {
        let mut interval = tokio::time::interval(INTERVAL);
        interval.set_missed_tick_behavior(MissedTickBehavior::Delay);
        for number in 0_u64.. {
            interval.tick().await;
            let at = unix_ms();
            let status = sources.sessions.status().await;
            let sample = sample::take(&sources, &status, at);
            sample.export(&sources.metrics);
            for stream in &sample.streams {
                self.history().add(&stream.stream, stream.row);
            }
            let is_watched = self.latest.receiver_count() > 0;
            let forests = if is_watched && number.is_multiple_of(FOREST_EVERY) {
                Some(sample::forests_json(&sources.sessions.forests().await))
            } else {
                None
            };
            self.latest.send_modify(|frame| {
                frame.sample = json(&sample);
                if let Some(forests) = forests {
                    frame.forests = forests;
                    frame.forests_number += 1;
                }
            });
        }
    }
}

impl Looker {
    /// The next server-sent events (HTML, 9.2): the past first, then one sample after another.
    /// None when the server stops.
    pub(crate) async fn next(&mut self) -> Option<Bytes> {
        let mut text = Vec::new();
        if self.is_new {
            self.is_new = false;
            event(&mut text, "history", &json(&*self.dashboard.history()));
            self.frames.mark_unchanged();
        } else {
            self.frames.changed().await.ok()?;
        }
        let frame = self.frames.borrow_and_update().clone();
        if !frame.sample.is_empty() {
            event(&mut text, "sample", &frame.sample);
        }
        if frame.forests_number != self.forests_number {
            self.forests_number = frame.forests_number;
            event(&mut text, "forests", &frame.forests);
        }
        Some(text.into())
    }
}

fn event(text: &mut Vec<u8>, name: &str, json: &[u8]) {
    for part in [b"event: ", name.as_bytes(), b"\ndata: ", json, b"\n\n"] {
        text.extend_from_slice(part);
    }
}

/// As one line of JSON.
fn json(value: &impl serde::Serialize) -> Bytes {
    serde_json::to_vec(value).expect("samples have string keys only").into()
}
