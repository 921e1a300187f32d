//! What a program wants of a line, left where its task finds it.

use std::sync::{Mutex, MutexGuard, PoisonError};

use tokio::sync::Notify;

use crate::dial::Endpoint;
use crate::relays::Backlog;

/// Where wishes are left for a line's task.
#[derive(Debug, Default)]
pub(super) struct Desk {
    wishes: Mutex<Wishes>,
    /// There is something new.
    bell: Notify,
}

/// All that was wished since the task last looked; the packets are the queue itself.
#[derive(Debug, Default)]
pub(super) struct Wishes {
    pub(super) backlog: Backlog,
    pub(super) home: bool,
    /// The region's relays changed.
    pub(super) endpoints: Option<Vec<Endpoint>>,
    pub(super) network_changed: bool,
    pub(super) connect: bool,
    pub(super) ping: bool,
    pub(super) watch_again: bool,
    /// Nobody wants the line any more.
    pub(super) stop: bool,
}

impl Desk {
    pub(super) fn look(&self) -> MutexGuard<'_, Wishes> {
        // Whoever panicked did so between two whole changes.
        self.wishes.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Leaves a wish.
    pub(super) fn leave<T>(&self, wish: impl FnOnce(&mut Wishes) -> T) -> T {
        let left = wish(&mut self.look());
        self.bell.notify_one();
        left
    }

    /// Waits until there is something new. To wait in vain, or no longer, loses nothing.
    pub(super) async fn rung(&self) {
        self.bell.notified().await;
    }
}
