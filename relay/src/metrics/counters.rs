//! Counters of one data thread, and their sum over all of them.

use std::{
    sync::atomic::{AtomicU64, Ordering::Relaxed},
    time::Duration,
};

use super::{DropReason, Histogram, HistogramTotals, PacketKind, TcpRtt};

/// Adds to a counter that only the calling thread writes: a load and a store, no locked instruction.
#[inline]
pub(crate) fn add(counter: &AtomicU64, n: u64) {
    counter.store(counter.load(Relaxed).wrapping_add(n), Relaxed);
}

/// Takes from a gauge that only the calling thread writes. Wraps: what one thread added another may take away, and only
/// the sum over threads has a meaning.
#[inline]
pub(crate) fn sub(gauge: &AtomicU64, n: u64) {
    gauge.store(gauge.load(Relaxed).wrapping_sub(n), Relaxed);
}

/// A packet count and a byte count for every reason and kind.
#[derive(Debug, Default)]
pub(crate) struct DropCounters {
    /// Packets, by reason and kind.
    packets: [[AtomicU64; 2]; 8],
    /// Payload bytes of those packets.
    bytes: [[AtomicU64; 2]; 8],
}

/// Bounds of the frames-per-flush histogram, derper's.
const BUFFERED_WRITE_FRAMES_LE: [u64; 16] = [0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 15, 20, 25, 50, 100];
/// Bounds of the histogram of presence changes told to a mesh peer at once, derper's.
const MESH_UPDATE_BATCH_SIZE_LE: [u64; 11] = [0, 1, 2, 5, 10, 20, 50, 100, 200, 500, 1000];
/// Bounds of the histogram of write rounds one batch of presence changes took, derper's.
const MESH_UPDATE_LOOP_COUNT_LE: [u64; 8] = [0, 1, 2, 5, 10, 20, 50, 100];
/// Bounds of the outbox wait, in microseconds.
const QUEUE_WAIT_MICROS_LE: [u64; 12] =
    [50, 100, 250, 500, 1_000, 2_500, 5_000, 10_000, 25_000, 50_000, 100_000, 250_000];
/// How much one new wait moves the running average; derper's.
const QUEUE_WAIT_AVERAGE_ALPHA: f64 = 0.1;

/// Makes the counters and their sum from one list, so that no field can be forgotten in between.
macro_rules! shard_counters {
    (counters { $($(#[$c_doc:meta])* $counter:ident,)* } gauges { $($(#[$g_doc:meta])* $gauge:ident,)* }) => {
        /// The counters of one data thread: only that thread writes ([`add`], [`sub`] and the methods), any may read.
        ///
        /// Aligned to two cache lines, because the prefetcher of common processors takes lines in pairs.
        #[derive(Debug)]
        #[repr(align(128))]
        pub(crate) struct ShardCounters {
            $($(#[$c_doc])* pub $counter: AtomicU64,)*
            $($(#[$g_doc])* pub $gauge: AtomicU64,)*
            /// SendPacket frames by kind; their sum is `packets_received`.
            pub packets_received_kind: [AtomicU64; 2],
            /// Packets that were not delivered.
            pub drops: DropCounters,
            /// Readings of connections' round-trip times, by [`TcpRtt`].
            pub tcp_rtt: [AtomicU64; 10],
            /// Connections that ended, by [`End`](super::End).
            pub ended: [AtomicU64; 8],
            /// Frames written per flush.
            pub buffered_write_frames: Histogram<16>,
            /// Presence changes told to a mesh peer at once.
            pub mesh_update_batch_size: Histogram<11>,
            /// Write rounds that one batch of presence changes took.
            pub mesh_update_loop_count: Histogram<8>,
            /// Microseconds between a packet's enqueueing and its writing or dropping.
            pub queue_wait_micros: Histogram<12>,
            /// Running average of the same in milliseconds, as the bits of an f64.
            queue_wait_average_ms: AtomicU64,
        }

        impl ShardCounters {
            /// All at zero.
            pub(crate) fn new() -> Self {
                Self {
                    $($counter: AtomicU64::new(0),)*
                    $($gauge: AtomicU64::new(0),)*
                    packets_received_kind: Default::default(),
                    drops: DropCounters::default(),
                    tcp_rtt: Default::default(),
                    ended: Default::default(),
                    buffered_write_frames: Histogram::new(&BUFFERED_WRITE_FRAMES_LE),
                    mesh_update_batch_size: Histogram::new(&MESH_UPDATE_BATCH_SIZE_LE),
                    mesh_update_loop_count: Histogram::new(&MESH_UPDATE_LOOP_COUNT_LE),
                    queue_wait_micros: Histogram::new(&QUEUE_WAIT_MICROS_LE),
                    queue_wait_average_ms: AtomicU64::new(0),
                }
            }
        }

        /// The sum of all data threads' [`ShardCounters`].
        #[derive(Debug, Clone, Default, PartialEq)]
        pub(crate) struct ShardTotals {
            $($(#[$c_doc])* pub $counter: u64,)*
            $($(#[$g_doc])* pub $gauge: u64,)*
            /// SendPacket frames by [`PacketKind`].
            pub packets_received_kind: [u64; 2],
            /// Dropped packets by [`DropReason`] and [`PacketKind`].
            pub packets_dropped: [[u64; 2]; 8],
            /// Payload bytes of dropped packets by [`DropReason`] and [`PacketKind`].
            pub bytes_dropped: [[u64; 2]; 8],
            /// Readings of connections' round-trip times, by [`TcpRtt`].
            pub tcp_rtt: [u64; 10],
            /// Connections that ended, by [`End`](super::End).
            pub ended: [u64; 8],
            /// Frames written per flush.
            pub buffered_write_frames: HistogramTotals,
            /// Presence changes told to a mesh peer at once.
            pub mesh_update_batch_size: HistogramTotals,
            /// Write rounds that one batch of presence changes took.
            pub mesh_update_loop_count: HistogramTotals,
            /// Microseconds between a packet's enqueueing and its writing or dropping.
            pub queue_wait_micros: HistogramTotals,
            /// Running average of the same in milliseconds: the threads' averages, weighted by how many waits each saw.
            pub queue_wait_average_ms: f64,
        }

        impl ShardTotals {
            /// Adds up all threads. Not one instant's truth: a thread may count while another is being read.
            pub(crate) fn sum<'a>(shards: impl IntoIterator<Item = &'a ShardCounters>) -> Self {
                let mut totals = Self::default();
                let mut weight = 0.0;
                for shard in shards {
                    $(totals.$counter += shard.$counter.load(Relaxed);)*
                    $(totals.$gauge = totals.$gauge.wrapping_add(shard.$gauge.load(Relaxed));)*
                    add_all(&mut totals.packets_received_kind, &shard.packets_received_kind);
                    add_all(totals.packets_dropped.as_flattened_mut(), shard.drops.packets.as_flattened());
                    add_all(totals.bytes_dropped.as_flattened_mut(), shard.drops.bytes.as_flattened());
                    add_all(&mut totals.tcp_rtt, &shard.tcp_rtt);
                    add_all(&mut totals.ended, &shard.ended);
                    shard.buffered_write_frames.add_to(&mut totals.buffered_write_frames);
                    shard.mesh_update_batch_size.add_to(&mut totals.mesh_update_batch_size);
                    shard.mesh_update_loop_count.add_to(&mut totals.mesh_update_loop_count);
                    shard.queue_wait_micros.add_to(&mut totals.queue_wait_micros);
                    let waits = totals.queue_wait_micros.count() as f64;
                    if waits > weight {
                        let average_ms = f64::from_bits(shard.queue_wait_average_ms.load(Relaxed));
                        totals.queue_wait_average_ms += (average_ms - totals.queue_wait_average_ms) * (waits - weight) / waits;
                        weight = waits;
                    }
                }
                // One thread may have been read before it added and another after it took away.
                $(totals.$gauge = (totals.$gauge as i64).max(0) as u64;)*
                totals
            }
        }
    };
}

shard_counters! {
    counters {
        /// Connections handed to the relay after their upgrade.
        accepts,
        /// SendPacket payload bytes; not what mesh peers forwarded to us.
        bytes_received,
        /// SendPacket frames.
        packets_received,
        /// RecvPacket payload bytes written.
        bytes_sent,
        /// RecvPacket frames written.
        packets_sent,
        /// Ping frames read, answered or not.
        got_ping,
        /// Pong frames written.
        sent_pong,
        /// Frames skipped because their type means nothing from a client.
        unknown_frames,
        /// PeerGone(Disconnected) frames written, to clients and to mesh watchers.
        peer_gone_disconnected_frames,
        /// PeerGone(NotHere) frames written.
        peer_gone_not_here_frames,
        /// ForwardPacket frames read from mesh peers.
        packets_forwarded_in,
        /// ForwardPacket frames written to mesh peers.
        packets_forwarded_out,
        /// Connections ended because a write took longer than allowed.
        sclient_write_timeouts,
        /// Connections that chose us as home more than 5 s after connecting.
        home_moves_in,
        /// Connections that gave us up as home more than 5 s after connecting.
        home_moves_out,
        /// Connections accepted for a key that already had one.
        total_dup_client_conns,
        /// Times a connection's receive limit made us wait before reading on.
        rate_limit_per_client_waited,
    }
    gauges {
        /// Live connections.
        current_connections,
        /// Live connections that call us home.
        current_home_connections,
        /// Live connections that wanted another node of the region.
        current_notideal_connections,
        /// Keys with more than one connection.
        current_dup_client_keys,
        /// Connections of such keys.
        current_dup_client_conns,
        /// Mesh connections subscribed to presence.
        watchers,
    }
}

impl Default for ShardCounters {
    fn default() -> Self {
        Self::new()
    }
}

impl ShardCounters {
    /// Counts one SendPacket frame with a payload of `bytes`.
    #[inline]
    pub(crate) fn received(&self, kind: PacketKind, bytes: usize) {
        add(&self.packets_received, 1);
        add(&self.packets_received_kind[kind as usize], 1);
        add(&self.bytes_received, bytes as u64);
    }

    /// Counts RecvPacket frames written, with `bytes` of payload together.
    #[inline]
    pub(crate) fn sent(&self, packets: u64, bytes: u64) {
        add(&self.packets_sent, packets);
        add(&self.bytes_sent, bytes);
    }

    /// Counts one packet with a payload of `bytes` that will not be delivered.
    #[inline]
    pub(crate) fn dropped(&self, reason: DropReason, kind: PacketKind, bytes: usize) {
        add(&self.drops.packets[reason as usize][kind as usize], 1);
        add(&self.drops.bytes[reason as usize][kind as usize], bytes as u64);
    }

    /// Counts how long a packet was in an outbox when it was written or dropped from the head.
    #[inline]
    pub(crate) fn queue_waited(&self, wait: Duration) {
        self.queue_wait_micros.observe(wait.as_micros() as u64);
        let average_ms = f64::from_bits(self.queue_wait_average_ms.load(Relaxed));
        let moved_ms = average_ms + (wait.as_secs_f64() * 1e3 - average_ms) * QUEUE_WAIT_AVERAGE_ALPHA;
        self.queue_wait_average_ms.store(moved_ms.to_bits(), Relaxed);
    }

    /// Counts one reading of a connection's round-trip time.
    #[inline]
    pub(crate) fn tcp_rtt_read(&self, reading: TcpRtt) {
        add(&self.tcp_rtt[reading as usize], 1);
    }
}

/// Adds each counter to the total in the same place.
fn add_all(totals: &mut [u64], counters: &[AtomicU64]) {
    for (total, counter) in totals.iter_mut().zip(counters) {
        *total += counter.load(Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_drop_counts_in_exactly_one_place() {
        let shard = ShardCounters::new();
        shard.dropped(DropReason::QueueHead, PacketKind::Disco, 62);
        let totals = ShardTotals::sum([&shard]);
        assert_eq!(totals.packets_dropped.as_flattened().iter().sum::<u64>(), 1);
        assert_eq!(totals.packets_dropped[DropReason::QueueHead as usize][PacketKind::Disco as usize], 1);
        assert_eq!(totals.bytes_dropped[DropReason::QueueHead as usize][PacketKind::Disco as usize], 62);
    }

    #[test]
    fn a_gauge_may_be_raised_by_one_thread_and_lowered_by_another() {
        let (one, two) = (ShardCounters::new(), ShardCounters::new());
        add(&one.current_connections, 3);
        sub(&two.current_connections, 1);
        assert_eq!(ShardTotals::sum([&one, &two]).current_connections, 2);
        assert_eq!(ShardTotals::sum([&two]).current_connections, 0, "never below zero");
    }

    #[test]
    fn queue_average_follows_derpers_tenth() {
        let shard = ShardCounters::new();
        shard.queue_waited(Duration::from_millis(10));
        shard.queue_waited(Duration::from_millis(10));
        let totals = ShardTotals::sum([&shard]);
        assert!((totals.queue_wait_average_ms - 1.9).abs() < 1e-9);
        assert_eq!(totals.queue_wait_micros.sum, 20_000);
    }

    #[test]
    fn queue_average_of_threads_is_weighted_by_their_waits() {
        let (busy, idle) = (ShardCounters::new(), ShardCounters::new());
        for _ in 0..300 {
            busy.queue_waited(Duration::from_millis(1));
        }
        let totals = ShardTotals::sum([&idle, &busy, &idle]);
        assert!((totals.queue_wait_average_ms - 1.0).abs() < 1e-6);
    }

    #[test]
    fn received_packets_are_split_by_kind() {
        let shard = ShardCounters::new();
        shard.received(PacketKind::Disco, 100);
        shard.received(PacketKind::Other, 1400);
        shard.sent(2, 1500);
        let totals = ShardTotals::sum([&shard]);
        assert_eq!((totals.packets_received, totals.bytes_received), (2, 1500));
        assert_eq!(totals.packets_received_kind, [1, 1]);
        assert_eq!((totals.packets_sent, totals.bytes_sent), (2, 1500));
    }
}
