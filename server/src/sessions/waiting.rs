//! Sockets that have not said hello.
//!
//! Rule: there are never more than so many, and the one that has waited longest goes first: who
//! says hello at once, as viewers do, is not harmed by those who do not.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use tokio_util::sync::CancellationToken;

/// All of them.
#[derive(Debug)]
pub(super) struct Waiting {
    state: Mutex<State>,
    max: usize,
}

#[derive(Debug, Default)]
struct State {
    next: u64,
    by_age: BTreeMap<u64, CancellationToken>,
}

/// One of them; dropped when it has said hello, or is gone.
#[derive(Debug)]
pub(super) struct Waiter {
    waiting: Arc<Waiting>,
    number: u64,
    sent_away: CancellationToken,
}

impl Waiting {
    pub(super) fn new(max: usize) -> Arc<Self> {
        Arc::new(Self { state: Mutex::default(), max })
    }

    /// Makes room for one more.
    pub(super) fn enter(self: &Arc<Self>) -> Waiter {
        let mut state = self.lock();
        if state.by_age.len() >= self.max
            && let Some((_, oldest)) = state.by_age.pop_first()
        {
            oldest.cancel();
        }
        let number = state.next;
        state.next += 1;
        let sent_away = CancellationToken::new();
        state.by_age.insert(number, sent_away.clone());
        drop(state);
        Waiter { waiting: Arc::clone(self), number, sent_away }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Waiter {
    /// Resolves when another needs the place.
    pub(super) async fn sent_away(&self) {
        self.sent_away.cancelled().await;
    }
}

impl Drop for Waiter {
    fn drop(&mut self) {
        self.waiting.lock().by_age.remove(&self.number);
    }
}
