//! What the pages read from the running relay.

use std::sync::{Arc, mpsc};
use std::time::{Duration, SystemTime};

use ferry_stun::partner::{PartnerRefusal, PartnerState, PartnerStatus};
use ferry_stun::{Counters, PartnerChannel, RefusalReason, UdpServer};

use crate::metrics::{PartnerReadings, Process, RegistryReadings, Snapshot, StunReadings};
use crate::pages::Readings;
use crate::shard::{Message, Shared};
use crate::traffic::ClientTraffic;

/// A data thread answers within a turn; one that does not is left out.
const CENSUS_TIMEOUT: Duration = Duration::from_secs(1);

/// The relay as its metric pages see it.
pub(super) struct RelayReadings {
    shared: Arc<Shared>,
    stun: Option<Arc<Counters>>,
    stun_partner: Option<Arc<PartnerChannel>>,
    tls_listening: bool,
    process: Process,
}

impl RelayReadings {
    pub(super) fn new(
        shared: Arc<Shared>,
        stun: Option<&UdpServer>,
        stun_partner: Option<Arc<PartnerChannel>>,
        tls_listening: bool,
    ) -> Self {
        let stun = stun.map(|server| Arc::clone(server.counters()));
        Self {
            shared,
            stun,
            stun_partner,
            tls_listening,
            process: Process::new(SystemTime::now(), env!("CARGO_PKG_VERSION")),
        }
    }
}

impl Readings for RelayReadings {
    fn snapshot(&self) -> Snapshot {
        let shards = self.shared.shards.iter().map(|shard| &*shard.counters);
        let mut snapshot = Snapshot::read(shards, &self.shared.front);
        let registry = &self.shared.registry;
        let keys = registry.keys_len() as u64;
        let (duplicate_keys, duplicate_connections) = registry.duplicates();
        snapshot.shards.current_dup_client_keys = duplicate_keys as u64;
        snapshot.shards.current_dup_client_conns = duplicate_connections as u64;
        snapshot.shards.watchers = registry.watchers_len() as u64;
        snapshot.registry =
            RegistryReadings { clients_total: keys, clients_local: keys, ..Default::default() };
        snapshot.tls_listening = self.tls_listening;
        if let Some(stun) = &self.stun {
            snapshot.stun = StunReadings {
                success: stun.success(),
                not_stun: stun.not_stun(),
                read_error: stun.read_error(),
                write_error: stun.write_error(),
                ipv4: stun.ipv4(),
                ipv6: stun.ipv6(),
                errors: stun.errors(),
                unanswered: stun.unanswered(),
                sources_filtered: stun.sources_filtered(),
                refused: RefusalReason::ALL.map(|reason| stun.refused(reason)),
            };
        }
        snapshot.stun_partner = self.stun_partner.as_ref().map(|channel| partner(&channel.status()));
        snapshot.process = self.process.facts(SystemTime::now());
        snapshot
    }

    fn traffic(&self) -> Vec<ClientTraffic> {
        let (answer, answers) = mpsc::channel();
        for shard in &self.shared.shards {
            shard.send(Message::Census(answer.clone()));
        }
        drop(answer);
        let senders = self.shared.registry.senders();
        let mut all = Vec::new();
        while let Ok(part) = answers.recv_timeout(CENSUS_TIMEOUT) {
            all.extend(part);
        }
        for client in &mut all {
            client.unique_senders = senders.get(&client.id).copied().unwrap_or_default();
        }
        all
    }

    /// derper's check, made right: with duplicates the gauge counts connections and the table counts keys.
    fn consistency(&self) -> Vec<String> {
        let snapshot = self.snapshot();
        let duplicates = &snapshot.shards;
        let extra = duplicates.current_dup_client_conns.saturating_sub(duplicates.current_dup_client_keys);
        let keys = duplicates.current_connections.saturating_sub(extra);
        if keys == snapshot.registry.clients_local {
            return Vec::new();
        }
        vec![format!(
            "{} connections, {extra} of them duplicates, make {keys} keys, but {} are registered",
            duplicates.current_connections, snapshot.registry.clients_local
        )]
    }
}

fn partner(status: &PartnerStatus) -> PartnerReadings {
    PartnerReadings {
        up: status.state == PartnerState::Up,
        round_trip_secs: status.round_trip.map(|round_trip| round_trip.as_secs_f64()),
        forwarded: status.forwarded,
        not_forwarded: status.not_forwarded,
        sent: status.sent,
        send_error: status.send_error,
        read_error: status.read_error,
        refused: PartnerRefusal::ALL.map(|reason| status.refused(reason)),
    }
}
