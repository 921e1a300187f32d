//! Who lets a client in: the thread that brought it, or the one it is brought to.

use std::io::Read;
use std::net::{TcpListener, TcpStream};

use ferry_protocol::frame::PeerPresentFlags;

use super::*;

/// A data thread that does not run, as it is while it sleeps.
struct Asleep {
    shared: Arc<Shared>,
    poll: Poll,
}

impl Asleep {
    /// For so long already.
    fn since(slept: Duration) -> Self {
        let (poll, handle) = prepare().unwrap();
        let shared = Arc::new(Shared {
            registry: Registry::new(),
            front: Arc::default(),
            public_key: NodePublicKey::from_bytes([7; 32]),
            shards: vec![handle],
            write_timeout: None,
            queue_depth: 1,
        });
        let mut shard = Shard::new(0, poll.registry().try_clone().unwrap(), Arc::clone(&shared));
        shard.fall_asleep();
        shard.awake_at = Instant::now().checked_sub(slept).unwrap();
        *shared.shards[0].state() = Some(Box::new(shard));
        Self { shared, poll }
    }

    fn handle(&self) -> &ShardHandle {
        &self.shared.shards[0]
    }

    /// Whether it would wake now.
    fn is_woken(&mut self) -> bool {
        let mut events = Events::with_capacity(1);
        self.poll.poll(&mut events, Some(Duration::ZERO)).unwrap();
        events.iter().any(|event| event.token() == WAKER)
    }

    /// Brings it a client, and answers with the client's own end.
    fn bring(&self, key: NodePublicKey) -> TcpStream {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let client = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let (socket, addr) = listener.accept().unwrap();
        socket.set_nonblocking(true).unwrap();
        self.handle().adopt(Box::new(NewSession {
            socket,
            tls: None,
            websocket: None,
            key,
            presence: Presence { addr, flags: PeerPresentFlags::REGULAR },
            mesh: false,
            not_ideal: false,
            unsent: Vec::new(),
            server_info: b"welcome".to_vec(),
            sealed: Vec::new(),
            stream: Vec::new(),
        }));
        client
    }

    fn messages(&self) -> usize {
        self.handle().inbox.lock().unwrap().messages.len()
    }
}

#[test]
fn a_client_is_let_in_while_the_thread_sleeps() {
    let mut asleep = Asleep::since(Duration::from_secs(1));
    let keys = [1, 2].map(|byte| NodePublicKey::from_bytes([byte; 32]));
    for key in keys {
        let mut greeting = [0; 7];
        asleep.bring(key).read_exact(&mut greeting).unwrap();
        assert_eq!(&greeting, b"welcome");
        assert!(asleep.shared.registry.find(&key).is_some());
    }
    assert_eq!(asleep.messages(), 0);
    // It slept without an end, and now has keep-alives to send.
    assert!(asleep.is_woken());
    asleep.bring(NodePublicKey::from_bytes([3; 32]));
    assert!(!asleep.is_woken(), "nothing more is due before what it was woken for");
}

#[test]
fn a_thread_that_is_busy_or_has_been_told_something_lets_its_clients_in_itself() {
    let key = NodePublicKey::from_bytes([1; 32]);
    // Awake a moment ago, as seen from the near future.
    let mut dozing = Asleep::since(Duration::ZERO);
    dozing.handle().state().as_mut().unwrap().awake_at += Duration::from_secs(60);
    let mut told = Asleep::since(Duration::from_secs(1));
    told.handle().send(Message::Evict(ConnectionId::NONE));
    for (what, thread, messages) in [("dozing", &mut dozing, 1), ("told", &mut told, 2)] {
        thread.bring(key);
        assert_eq!(thread.messages(), messages, "{what}");
        assert!(thread.is_woken() && thread.shared.registry.find(&key).is_none(), "{what}");
    }
    let mut awake = Asleep::since(Duration::from_secs(1));
    let shared = Arc::clone(&awake.shared);
    let state = shared.shards[0].state();
    awake.bring(key);
    assert_eq!(awake.messages(), 1);
    assert!(awake.is_woken() && shared.registry.find(&key).is_none());
    drop(state);
}

#[test]
fn a_thread_that_has_ended_is_not_touched() {
    let gone = Asleep::since(Duration::from_secs(1));
    drop(gone.handle().state().take());
    gone.bring(NodePublicKey::from_bytes([1; 32]));
    assert_eq!(gone.messages(), 1);
}
