//! `cargo xtask demo`: a live event on this machine, end to end, measured from the outside.
//!
//! Rule: it sets up, runs to the end and reports; it judges nothing and exits with 0 whatever the
//! figures say. However it ends, no process, namespace or counter of it stays behind: each is held
//! by a value whose drop removes it.

pub(crate) mod args;
mod browsers;
mod build;
mod cdn;
mod clock;
mod encoder;
mod event;
mod figures;
pub(crate) mod forward;
pub(crate) mod http;
mod low_latency;
mod netns;
mod nft;
pub(crate) mod origin;
mod pages;
mod playback;
pub(crate) mod player;
mod playlist;
pub(crate) mod process;
mod pts;
pub(crate) mod recorder;
mod reference;
mod report;
mod stage;
mod table;
mod timeline;
mod title;
mod viewer;

use crate::folder::Folder;
use anyhow::{Result, bail};
use args::Args;
use std::sync::{Mutex, MutexGuard, PoisonError};
use tokio::signal::unix::{Signal, SignalKind, signal};

/// Runs the demo.
pub(crate) fn run(args: &Args) -> Result<()> {
    let args = &args.clone().settled();
    args.validate()?;
    let programs = build::programs(args)?;
    let folder = Folder::create("demo", args.keep.as_deref())?;
    let mut runtime = tokio::runtime::Builder::new_multi_thread();
    let runtime = runtime.worker_threads(2).enable_all().build()?;
    runtime.block_on(async {
        let mut signals = Signals::new()?;
        let stage = tokio::select! {
            stage = stage::Stage::set_up(args, &programs, folder.path()) => stage?,
            () = signals.next() => bail!("interrupted"),
        };
        event::run(args, stage, signals).await
    })
}

/// What asks the demo to end.
#[derive(Debug)]
pub(crate) struct Signals {
    interrupt: Signal,
    terminate: Signal,
}

impl Signals {
    pub(crate) fn new() -> Result<Self> {
        let interrupt = signal(SignalKind::interrupt())?;
        Ok(Self { interrupt, terminate: signal(SignalKind::terminate())? })
    }

    /// Waits for Ctrl-C or SIGTERM.
    pub(crate) async fn next(&mut self) {
        tokio::select! {
            _ = self.interrupt.recv() => {}
            _ = self.terminate.recv() => {}
        }
    }
}

/// Locks; a poisoned lock means that another task panicked, and its data is still the best there is.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
