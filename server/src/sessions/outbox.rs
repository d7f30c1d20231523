//! Messages on their way to one viewer.
//!
//! Rule: it is bounded, putting a message in never waits, and an empty one holds no room for any.

use axum::extract::ws::Message;
use shoal_wire::{ServerFrame, ServerMessage};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use tokio::sync::Notify;

/// The end where messages are put in. The other end hears of it when the last one is dropped.
#[derive(Debug)]
pub(super) struct Outbox(Arc<Shared>);

/// The end where they are taken out.
#[derive(Debug)]
pub(super) struct Inbox(Arc<Shared>);

/// A message as a WebSocket carries it.
pub(super) fn frame(message: &ServerMessage) -> Message {
    match message.to_frame() {
        ServerFrame::Text(text) => Message::Text(text.into()),
        ServerFrame::Binary(bytes) => Message::Binary(bytes),
    }
}

/// As many messages wait as may.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Full;

#[derive(Debug)]
struct Shared {
    queue: Mutex<Vec<Message>>,
    messages_max: usize,
    senders: AtomicUsize,
    news: Notify,
}

impl Shared {
    fn queue(&self) -> MutexGuard<'_, Vec<Message>> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Outbox {
    /// Both ends, for this many messages at most.
    pub(super) fn new(messages_max: usize) -> (Self, Inbox) {
        let shared = Arc::new(Shared {
            queue: Mutex::new(Vec::new()),
            messages_max,
            senders: AtomicUsize::new(1),
            news: Notify::new(),
        });
        (Self(Arc::clone(&shared)), Inbox(shared))
    }

    /// Puts a message behind the others.
    pub(super) fn try_send(&self, message: Message) -> Result<(), Full> {
        let mut queue = self.0.queue();
        if queue.len() >= self.0.messages_max {
            return Err(Full);
        }
        queue.push(message);
        self.0.news.notify_one();
        Ok(())
    }
}

impl Clone for Outbox {
    fn clone(&self) -> Self {
        self.0.senders.fetch_add(1, Ordering::Relaxed);
        Self(Arc::clone(&self.0))
    }
}

impl Drop for Outbox {
    fn drop(&mut self) {
        if self.0.senders.fetch_sub(1, Ordering::AcqRel) == 1 {
            self.0.news.notify_one();
        }
    }
}

impl Inbox {
    /// All messages that wait, once there are any; none when no more can come. To give up waiting
    /// loses nothing.
    pub(super) async fn take(&mut self) -> Option<Vec<Message>> {
        loop {
            let is_last = self.0.senders.load(Ordering::Acquire) == 0;
            let messages = std::mem::take(&mut *self.0.queue());
            if !messages.is_empty() {
                return Some(messages);
            }
            if is_last {
                return None;
            }
            self.0.news.notified().await;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn messages_come_in_order_until_the_last_end_is_dropped() {
        let (outbox, mut inbox) = Outbox::new(2);
        let other = outbox.clone();
        outbox.try_send("a".into()).unwrap();
        other.try_send("b".into()).unwrap();
        assert_eq!(outbox.try_send("c".into()), Err(Full));
        assert_eq!(inbox.take().await.unwrap(), ["a", "b"].map(Message::from));
        assert_eq!(inbox.0.queue().capacity(), 0);
        drop(outbox);
        let waiting = tokio::spawn(async move { (inbox.take().await, inbox.take().await) });
        tokio::task::yield_now().await;
        other.try_send("d".into()).unwrap();
        drop(other);
        assert_eq!(waiting.await.unwrap(), (Some(vec!["d".into()]), None));
    }
}
