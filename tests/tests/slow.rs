//! Receivers that do not keep up, and senders that share one: who pays, and who does not.
#![forbid(unsafe_code)]

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use ferry_tests::{Client, Event, Numbered, Sender, TestRelay};

/// Bytes of the packets here.
const PACKET: usize = 1_400;
/// More than the kernel's buffers and the relay's outbox of a client hold together.
const FLOOD_PACKETS: u64 = 16 * 1024 * 1024 / PACKET as u64;

#[test]
fn a_receiver_that_stops_reading_is_cut_and_its_neighbours_lose_nothing() {
    let relay = TestRelay::plain_with(&["-tcp-write-timeout", "1s"]);
    let mut stalled = Client::join_narrow(&relay);
    let (mut sender, mut neighbour) = (Client::join(&relay), Client::join(&relay));
    for number in 0..FLOOD_PACKETS {
        sender.send(&stalled.key(), &Numbered(number).packet(PACKET));
        if number % 64 == 0 {
            // Same connection, same relay: served at once although the other has long been full.
            sender.send(&neighbour.key(), &Numbered(number).packet(PACKET));
            neighbour.expect_packet(&sender.key(), &Numbered(number).packet(PACKET));
        }
    }
    let until = Instant::now() + Duration::from_secs(10);
    while !is_gone(&mut sender, &stalled) {
        assert!(Instant::now() < until, "a receiver that reads nothing is still connected");
    }
    // What the kernel had taken is whole packets in order, up to a cut.
    let received = numbers_until_closed(&mut stalled);
    assert!(!received.is_empty() && received.is_sorted_by(|a, b| a < b), "{} packets", received.len());
    sender.send(&neighbour.key(), b"still here");
    neighbour.expect_packet(&sender.key(), b"still here");
}

#[test]
fn a_receiver_that_paused_gets_a_stream_that_is_whole_and_in_order() {
    let patient = ["-tcp-write-timeout", "30s"];
    for relay in [TestRelay::plain_with(&patient), TestRelay::tls_with(&patient)] {
        let mut paused = Client::join_narrow(&relay);
        let mut sender = Client::join(&relay);
        for number in 0..FLOOD_PACKETS {
            sender.send(&paused.key(), &Numbered(number).packet(PACKET));
        }
        sender.expect_quiet();
        // What waited too long is gone from the middle, never from within a packet, and the end is there.
        let end = Numbered(FLOOD_PACKETS);
        sender.send(&paused.key(), &end.packet(PACKET));
        let received = numbers_until(&mut paused, end);
        assert!(received.is_sorted_by(|a, b| a < b));
        assert_eq!(received.first(), Some(&Numbered(0)));
        // It is a live client still.
        sender.send(&paused.key(), b"welcome back");
        paused.expect_packet(&sender.key(), b"welcome back");
    }
}

#[test]
fn a_receiver_that_only_trickles_is_kept_and_stays_in_order() {
    // 160 KB/s against a write timeout of 1 s.
    let received = trickle("1s", 16 * 1024, Duration::from_millis(100), Duration::from_millis(2_500));
    assert!(received.is_sorted_by(|a, b| a < b), "{} packets", received.len());
}

#[test]
fn a_receiver_that_takes_4_kib_within_the_write_timeout_is_kept() {
    // Eight times as much, 32 KiB in 2 s, and for two timeouts.
    let received = trickle("2s", 8 * 1024, Duration::from_millis(500), Duration::from_millis(4_500));
    assert!(received.is_sorted_by(|a, b| a < b), "{} packets", received.len());
}

#[test]
fn four_senders_share_a_slow_receiver_fairly() {
    /// What the receiver takes before it judges: several times what waits at any moment.
    const JUDGED_BYTES: usize = 24 * 1024 * 1024;
    /// What it takes in one go; a millisecond's rest after each makes it the narrowest place.
    const PIECE: usize = 24 * 1024;
    let relay = TestRelay::plain_with(&["-tcp-write-timeout", "30s"]);
    let mut receiver = Client::join_narrow(&relay);
    let senders: Vec<_> = (0..4).map(|_| Client::join(&relay)).collect();
    let keys: Vec<_> = senders.iter().map(Client::key).collect();
    let done = AtomicBool::new(false);
    let (dst, done) = (receiver.key(), &done);
    let mut shares: HashMap<_, u64> = HashMap::new();
    std::thread::scope(|scope| {
        for (sender, size) in senders.iter().map(Client::sender).zip([PACKET, PACKET, 300, 8_000]) {
            scope.spawn(move || flood(sender, &dst, size, done));
        }
        let mut taken = 0;
        while taken < JUDGED_BYTES {
            let read = receiver.read_little(PIECE);
            assert_ne!(read, 0, "cut off after {taken} bytes");
            taken += read;
            while let Some(event) = receiver.next_read() {
                let Event::Packet { src, packet } = event else { panic!("{event:?}") };
                // The first quarter is the relay's and the kernel's queues filling.
                if taken > JUDGED_BYTES / 4 {
                    *shares.entry(src).or_default() += packet.len() as u64;
                }
            }
            std::thread::sleep(Duration::from_millis(1));
        }
        done.store(true, Ordering::Relaxed);
        // Whoever is blocked in a write is let go by the relay's reading on, not by us.
    });
    let total: u64 = shares.values().sum();
    let percent: Vec<_> =
        keys.iter().map(|key| shares.get(key).copied().unwrap_or(0) * 100 / total).collect();
    assert!(percent.iter().all(|share| *share > 15), "shares in per cent: {percent:?}");
}

/// A receiver that takes a piece at a time while more waits for it than it will ever take, then all the rest; answers
/// what it got.
fn trickle(write_timeout: &str, piece: usize, every: Duration, duration: Duration) -> Vec<Numbered> {
    let relay = TestRelay::plain_with(&["-tcp-write-timeout", write_timeout]);
    let mut slow = Client::join_narrow(&relay);
    let mut sender = Client::join(&relay);
    for number in 0..FLOOD_PACKETS / 4 {
        sender.send(&slow.key(), &Numbered(number).packet(PACKET));
    }
    sender.expect_quiet();
    let mut received = Vec::new();
    let began = Instant::now();
    while began.elapsed() < duration {
        slow.read_little(piece);
        while let Some(event) = slow.next_read() {
            received.push(Numbered::of(&packet_of(event)));
        }
        // The pace is what is tested.
        std::thread::sleep(every);
    }
    assert!(!is_gone(&mut sender, &slow), "cut off after {} packets", received.len());
    let end = Numbered(FLOOD_PACKETS);
    sender.send(&slow.key(), &end.packet(PACKET));
    loop {
        let packet = packet_of(slow.next_event());
        // What asked whether it is gone is in between.
        if packet.len() == PACKET {
            received.push(Numbered::of(&packet));
        }
        if received.last() == Some(&end) {
            return received;
        }
    }
}

/// Sends until told otherwise.
fn flood(mut sender: Sender, dst: &ferry_protocol::NodePublicKey, size: usize, done: &AtomicBool) {
    let packet = vec![0x5a; size];
    while !done.load(Ordering::Relaxed) && sender.send(dst, &packet) {}
}

/// Whether the relay has no connection of this client any more: disco to it is answered by PeerGone.
fn is_gone(sender: &mut Client, client: &Client) -> bool {
    sender.send(&client.key(), &ferry_tests::disco_packet(62));
    sender
        .next_within(Duration::from_millis(100))
        .is_some_and(|event| matches!(event, Event::PeerGone { .. }))
}

/// The numbers of all packets up to the end of the connection; shorter packets carry none.
fn numbers_until_closed(client: &mut Client) -> Vec<Numbered> {
    let mut numbers = Vec::new();
    loop {
        let event = client.next_event();
        if event == Event::Closed {
            return numbers;
        }
        let packet = packet_of(event);
        if packet.len() == PACKET {
            numbers.push(Numbered::of(&packet));
        }
    }
}

/// The numbers of all packets up to this one.
fn numbers_until(client: &mut Client, end: Numbered) -> Vec<Numbered> {
    let mut numbers = Vec::new();
    while numbers.last() != Some(&end) {
        numbers.push(Numbered::of(&packet_of(client.next_event())));
    }
    numbers
}

fn packet_of(event: Event) -> Vec<u8> {
    let Event::Packet { packet, .. } = event else { panic!("want a packet, got {event:?}") };
    packet
}
