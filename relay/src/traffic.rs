//! What each client has sent and been sent, for an operator who asks who is using the relay.

use ferry_protocol::NodePublicKey;
use serde::Serialize;

use crate::switch::ConnectionId;

/// One client's counters, in the order and spelling of derper's `/debug/traffic`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "PascalCase")]
pub(crate) struct ClientTraffic {
    /// Which connection; not shown.
    #[serde(skip)]
    pub(crate) id: ConnectionId,
    /// Bytes written to its socket.
    pub(crate) sent: u64,
    /// Bytes read from its socket.
    pub(crate) recv: u64,
    /// Whose they are.
    pub(crate) key: NodePublicKey,
    /// Connected keys that have sent it packets. derper estimates all there ever were.
    pub(crate) unique_senders: usize,
}

/// The lines for clients whose counters have changed, one JSON object each, and an empty line behind them.
pub(crate) fn changed(before: &[ClientTraffic], after: &[ClientTraffic]) -> String {
    let mut lines = String::new();
    for client in after {
        let old = before.iter().find(|old| old.id == client.id);
        if old.is_some_and(|old| (old.sent, old.recv) == (client.sent, client.recv)) {
            continue;
        }
        if let Ok(line) = serde_json::to_string(client) {
            lines.push_str(&line);
            lines.push('\n');
        }
    }
    lines.push('\n');
    lines
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_clients_that_moved_are_shown() {
        let client = |slot, sent| ClientTraffic {
            id: ConnectionId::new(0, slot, 1),
            sent,
            recv: 7,
            key: NodePublicKey::from_bytes([slot as u8; 32]),
            unique_senders: 3,
        };
        let text = changed(&[client(1, 10), client(2, 10)], &[client(1, 10), client(2, 11), client(3, 0)]);
        let lines: Vec<_> = text.lines().collect();
        assert_eq!(lines.len(), 3);
        let key = "02".repeat(32);
        assert_eq!(lines[0], format!(r#"{{"Sent":11,"Recv":7,"Key":"nodekey:{key}","UniqueSenders":3}}"#));
        assert!(lines[1].contains(&"03".repeat(32)) && lines[2].is_empty());
    }
}
