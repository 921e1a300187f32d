//! Two nodes send each other packets through a relay, as fast as it takes them: does it, and how fast?
//!
//! `cargo run --release -p ferry-client --example relays -- https://127.0.0.1:8443`, or `http://`, `wss://`, `ws://`.
//! The relay's certificate is believed unseen.
#![forbid(unsafe_code)]

use std::error::Error;
use std::io::{Write, stdout};
use std::time::{Duration, Instant};

use ferry_client::RelayUrl;
use ferry_client::derp_map::Identity;
use ferry_client::net::{Packets, Relays};
use ferry_client::relays::Event;
use ferry_protocol::derp_map::RegionId;
use ferry_protocol::{NodePrivateKey, NodePublicKey};

/// The one region.
const REGION: RegionId = RegionId(1);
/// Packets that are under way at a time: relays drop what they cannot pass on, and so does a backlog.
const WINDOW: usize = 24;
/// Bytes of a packet, as much as fits into a tunnel.
const PACKET_BYTES: usize = 1280;
/// Packets in all.
const PACKETS: usize = 200_000;
/// After so long without a packet, those under way are lost.
const PATIENCE: Duration = Duration::from_secs(1);

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn Error>> {
    let url: RelayUrl = std::env::args().nth(1).ok_or("which relay? give a URL")?.parse()?;
    let (alice, _) = node(&url).await?;
    let (bob, mut packets) = node(&url).await?;
    let to = bob.public_key();

    let (began, mut sent, mut received, mut lost, mut batches) = (Instant::now(), 0, 0, 0, 0);
    while received + lost < PACKETS {
        let free = WINDOW.saturating_sub(sent - received - lost).min(PACKETS - sent);
        send(&alice, &to, free)?;
        sent += free;
        match tokio::time::timeout(PATIENCE, packets.recv()).await {
            Ok(Some(batch)) => {
                received += batch.len();
                batches += 1;
            }
            Ok(None) => return Err("the relays are gone".into()),
            Err(_) => lost = sent - received,
        }
    }
    let secs = began.elapsed().as_secs_f64();
    let rate = received as f64 / secs;
    writeln!(stdout(), "{received} packets of {PACKET_BYTES} bytes in {secs:.2} s, {rate:.0} a second")?;
    writeln!(stdout(), "{lost} lost; {:.1} packets in a batch", received as f64 / f64::from(batches))?;
    Ok(())
}

/// A node that is connected.
async fn node(url: &RelayUrl) -> Result<(Relays, Packets), Box<dyn Error>> {
    let mut secret = [0; 32];
    getrandom::fill(&mut secret)?;
    let builder = Relays::builder(NodePrivateKey::from_random(secret));
    let (relays, packets) = builder.relay(REGION, url, Identity::Unchecked).home(REGION).spawn();
    match relays.events().next().await {
        Some(Event::Connected { reached, .. }) => writeln!(stdout(), "connected in {:?}", reached.took)?,
        other => return Err(format!("{other:?}").into()),
    }
    Ok((relays, packets))
}

fn send(from: &Relays, to: &NodePublicKey, count: usize) -> Result<(), Box<dyn Error>> {
    let packet = [7; PACKET_BYTES];
    Ok(from.send_batch(REGION, std::iter::repeat_n((to, &packet[..]), count))?)
}
