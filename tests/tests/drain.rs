//! Stopping: in time whatever clients do, and without losing what had been taken on.
#![forbid(unsafe_code)]

use std::io::ErrorKind;
use std::io::Write;
use std::net::{TcpStream, UdpSocket};
use std::time::Duration;

use ferry_stun::TransactionId;
use ferry_stun::client::write_tailscale_request;
use ferry_tests::{Client, Event, LOCALHOST, Numbered, Stream, TestRelay};

/// What a stop may take beyond its grace: joining threads on a busy machine.
const MARGIN: Duration = Duration::from_secs(2);
/// A grace that nobody should need.
const AMPLE: Duration = Duration::from_secs(10);

#[test]
fn a_relay_of_idle_clients_stops_long_before_its_grace() {
    for mut relay in [TestRelay::plain(), TestRelay::tls()] {
        let mut clients: Vec<_> = (0..20).map(|_| Client::join(&relay)).collect();
        let took = relay.stop(AMPLE);
        assert!(took < MARGIN, "{took:?}");
        clients.iter_mut().for_each(Client::expect_closed);
    }
}

#[test]
fn a_relay_of_unfinished_connections_stops_long_before_its_grace() {
    // The kernel keeps those who have said nothing at all (TCP_DEFER_ACCEPT), and forgets them with the listener.
    for (mut relay, first) in [(TestRelay::plain(), b"G"), (TestRelay::tls(), b"\x16")] {
        let mut silent: Vec<_> = (0..20).map(|_| Stream::tcp(&relay)).collect();
        silent.iter_mut().for_each(|stream| stream.write_all(first).expect("a connection"));
        let mut half: Vec<_> = (0..5).map(|_| Stream::connect(&relay)).collect();
        half.iter_mut().for_each(|stream| stream.write_all(b"G").expect("a connection"));
        let took = relay.stop(AMPLE);
        assert!(took < MARGIN, "{took:?}");
        for stream in silent.iter_mut().chain(&mut half) {
            stream.read_to_close();
        }
    }
}

#[test]
fn a_relay_whose_clients_read_nothing_stops_at_its_grace() {
    const GRACE: Duration = Duration::from_millis(700);
    let mut relay = TestRelay::plain_with(&["-tcp-write-timeout", "30s"]);
    let blocked: Vec<_> = (0..3).map(|_| Client::join_narrow(&relay)).collect();
    let mut sender = Client::join(&relay);
    for number in 0..120 {
        for client in &blocked {
            sender.send(&client.key(), &Numbered(number).packet(65_536));
        }
    }
    sender.expect_quiet();
    let took = relay.stop(GRACE);
    assert!(took < GRACE + MARGIN, "{took:?}");
    sender.expect_closed();
}

#[test]
fn what_waits_for_a_client_is_written_before_the_goodbye() {
    /// As many packets of one sender as are safe in an outbox; their bytes are far more than sockets hold here.
    const PACKETS: u64 = 30;
    for mut relay in [TestRelay::plain(), TestRelay::tls()] {
        let mut receiver = Client::join_narrow(&relay);
        let mut sender = Client::join(&relay);
        for number in 0..PACKETS {
            sender.send(&receiver.key(), &Numbered(number).packet(65_536));
        }
        // The relay has read them all, and the receiver nothing.
        sender.expect_quiet();
        let received = std::thread::scope(|scope| {
            let stopping = scope.spawn(|| relay.stop(AMPLE));
            // The sender's end is the sign that the stop is under way.
            sender.expect_closed();
            let received = numbers_until_closed(&mut receiver);
            let took = stopping.join().expect("a stop does not panic");
            assert!(took < AMPLE, "{took:?}");
            received
        });
        assert_eq!(received, (0..PACKETS).map(Numbered).collect::<Vec<_>>());
    }
}

/// Who measures relays has to find another one while this one still serves its clients. A closed port would be an
/// error to some of those, so that silence it is.
#[test]
fn stun_falls_silent_before_clients_are_sent_away() {
    let mut relay = TestRelay::plain_with(&["-stun", "-stun-port", "0"]);
    let asker = UdpSocket::bind((LOCALHOST, 0)).expect("loopback binds");
    asker.connect(relay.stun_address().expect("STUN is on")).expect("loopback connects");
    asker.set_read_timeout(Some(AMPLE)).expect("a timeout");
    let mut request = Vec::new();
    write_tailscale_request(TransactionId::new([7; 12]), &mut request);
    asker.send(&request).expect("loopback sends");
    assert_eq!(asker.recv(&mut [0; 100]).expect("an answer"), 32);

    let mut receiver = Client::join_narrow(&relay);
    let mut sender = Client::join(&relay);
    for number in 0..30 {
        sender.send(&receiver.key(), &Numbered(number).packet(65_536));
    }
    sender.expect_quiet();
    std::thread::scope(|scope| {
        let stopping = scope.spawn(|| relay.stop(AMPLE));
        // The stop is under way, and waits for the receiver.
        sender.expect_closed();
        asker.send(&request).expect("loopback sends");
        asker.set_read_timeout(Some(Duration::from_millis(200))).expect("a timeout");
        let silence = asker.recv(&mut [0; 100]).expect_err("no answer");
        assert_eq!(silence.kind(), ErrorKind::WouldBlock);
        numbers_until_closed(&mut receiver);
        stopping.join().expect("a stop does not panic");
    });
}

#[test]
fn a_stopped_relay_accepts_nobody() {
    let mut relay = TestRelay::plain();
    relay.stop(AMPLE);
    assert!(TcpStream::connect(relay.address()).is_err());
}

#[test]
fn a_relay_may_be_stopped_by_a_program_that_has_a_runtime_of_its_own() {
    let runtime = tokio::runtime::Runtime::new().expect("a runtime");
    runtime.block_on(async {
        let mut relay = TestRelay::plain();
        let mut client = Client::join(&relay);
        relay.stop(AMPLE);
        client.expect_closed();
        // Dropping stops too.
        drop(TestRelay::plain());
    });
}

/// The numbers of all packets up to the end; that others leave too is no matter.
fn numbers_until_closed(client: &mut Client) -> Vec<Numbered> {
    let mut numbers = Vec::new();
    loop {
        let event = client.next_event();
        if event == Event::Closed {
            return numbers;
        }
        if let Event::Packet { packet, .. } = event {
            numbers.push(Numbered::of(&packet));
        }
    }
}
