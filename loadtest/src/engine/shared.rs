//! What all workers of a run look up, and the few counters through which they are watched.

use std::collections::HashMap;
use std::hash::{BuildHasherDefault, Hasher};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;

use ferry_client::{RelayUrl, Settings, Trust, client_config};
use ferry_protocol::{ClientInfo, NodePublicKey};

use super::{Progress, RunError, Share};
use crate::plan::{Arrival, ClientIndex, Destinations, Plan, Target, node_key};

/// What a run's workers have in common.
#[derive(Debug)]
pub(super) struct Shared<'run> {
    /// The plan.
    pub(super) plan: &'run Plan,
    /// This process' share of it.
    pub(super) share: Share,
    /// How to speak to the relay.
    pub(super) settings: Arc<Settings>,
    /// Everybody's public key, by index.
    pub(super) keys: Vec<NodePublicKey>,
    by_key: HashMap<NodePublicKey, ClientIndex, BuildHasherDefault<KeyHasher>>,
    /// What each worker has done so far, as it last said.
    pub(super) counters: Vec<Counters>,
}

/// One worker's counters, written by it once per turn of its loop.
#[derive(Debug, Default)]
pub(super) struct Counters {
    established: AtomicU64,
    connecting: AtomicU64,
    sent: AtomicU64,
    arrived: AtomicU64,
}

impl Counters {
    /// The worker's own. Sent before arrived: whoever reads an arrival then also sees the answer that it caused.
    pub(super) fn publish(&self, progress: Progress) {
        self.established.store(progress.established, Ordering::Relaxed);
        self.connecting.store(progress.connecting, Ordering::Relaxed);
        self.sent.store(progress.sent, Ordering::Release);
        self.arrived.store(progress.arrived, Ordering::Release);
    }
}

impl<'run> Shared<'run> {
    /// Checks a plan and makes what its workers need.
    pub(super) fn new(plan: &'run Plan, share: Share) -> Result<Self, RunError> {
        check(plan, share)?;
        let keys = public_keys(plan);
        let by_key = keys.iter().zip(0..).map(|(key, index)| (*key, index)).collect();
        Ok(Self {
            plan,
            share,
            settings: Arc::new(settings(&plan.target)?),
            keys,
            by_key,
            counters: (0..plan.threads).map(|_| Counters::default()).collect(),
        })
    }

    /// Whose key that is.
    pub(super) fn client_of(&self, key: &NodePublicKey) -> Option<ClientIndex> {
        self.by_key.get(key).copied()
    }

    /// The clients that a worker of this process serves.
    pub(super) fn clients_of(&self, worker: u32) -> impl Iterator<Item = ClientIndex> + '_ {
        let Share { index, of } = self.share;
        (0..).zip(&self.plan.clients).filter_map(move |(client, plan)| {
            let mine = plan.group % of == index && plan.group / of % self.plan.threads == worker;
            mine.then_some(client)
        })
    }

    /// How many clients this process serves; of a plan with some that come first, only those.
    pub(super) fn clients(&self) -> u64 {
        let Share { index, of } = self.share;
        let all = self.plan.arrival == Arrival::Scheduled;
        (0..)
            .zip(&self.plan.clients)
            .filter(|(client, plan)| plan.group % of == index && (all || self.plan.comes_first(*client)))
            .count() as u64
    }

    /// What all workers have done so far. All arrivals are read before anything sent, so that the two are never equal while
    /// something is under way.
    pub(super) fn progress(&self) -> Progress {
        let arrived = self.counters.iter().map(|worker| worker.arrived.load(Ordering::Acquire)).sum();
        let sent = self.counters.iter().map(|worker| worker.sent.load(Ordering::Acquire)).sum();
        let established = self.counters.iter().map(|worker| worker.established.load(Ordering::Relaxed)).sum();
        let connecting = self.counters.iter().map(|worker| worker.connecting.load(Ordering::Relaxed)).sum();
        Progress { established, connecting, sent, arrived }
    }
}

/// Refuses what cannot be carried out, so that the workers need not ask.
fn check(plan: &Plan, share: Share) -> Result<(), RunError> {
    let refuse = |reason: String| Err(RunError::Plan(reason));
    if plan.threads == 0 {
        return refuse("no worker threads".into());
    }
    if plan.interval.is_zero() {
        return refuse("steps of the time series have no length".into());
    }
    if share.of == 0 || share.index >= share.of {
        return refuse(format!("share {} of {}", share.index, share.of));
    }
    let clients = plan.clients.len() as u64;
    for (index, client) in (0..).zip(&plan.clients) {
        let Some(sending) = &client.sending else { continue };
        if usize::from(sending.class) >= plan.classes.len() {
            return refuse(format!("client {index} sends class {} of {}", sending.class, plan.classes.len()));
        }
        let (first, count) = match sending.to {
            Destinations::One { client } => (client, 1),
            Destinations::InTurn { first, count }
            | Destinations::Uniform { first, count }
            | Destinations::Zipf { first, count, .. } => (first, count),
        };
        if count == 0 || u64::from(first) + u64::from(count) > clients {
            return refuse(format!(
                "client {index} sends to {count} clients from {first} on, and there are {clients}"
            ));
        }
        if count == 1 && first == index {
            return refuse(format!("client {index} sends to nobody but itself"));
        }
    }
    Ok(())
}

fn settings(target: &Target) -> Result<Settings, RunError> {
    let url: RelayUrl = target.url.parse()?;
    let trust = target.pinned.map_or(Trust::Unverified, Trust::SameAs);
    let tls = if url.secure { Some(client_config(&trust, target.resumption)?) } else { None };
    let fast_start = !target.ordinary_start;
    Ok(Settings { url, tls, info: ClientInfo::current(), ideal_node: None, fast_start })
}

/// Everybody's public key; tens of microseconds each, so on as many threads as there will be workers.
fn public_keys(plan: &Plan) -> Vec<NodePublicKey> {
    let clients = plan.clients.len() as u32;
    let part = clients.div_ceil(plan.threads).max(1);
    thread::scope(|scope| {
        let parts: Vec<_> = (0..clients)
            .step_by(part as usize)
            .map(|first| {
                let last = clients.min(first + part);
                scope.spawn(move || {
                    (first..last).map(|client| node_key(plan.seed, client).public()).collect::<Vec<_>>()
                })
            })
            .collect();
        parts.into_iter().flat_map(|part| part.join().expect("making keys does not panic")).collect()
    })
}

/// Public keys are as good as random, and the table holds only keys of our own making: eight of their bytes are hash enough.
#[derive(Debug, Default)]
pub(super) struct KeyHasher(u64);

impl Hasher for KeyHasher {
    fn write(&mut self, bytes: &[u8]) {
        if let Some(first) = bytes.first_chunk() {
            self.0 = u64::from_le_bytes(*first);
        }
    }

    // The length of the array says nothing.
    fn write_usize(&mut self, _length: usize) {}

    fn finish(&self) -> u64 {
        self.0
    }
}
