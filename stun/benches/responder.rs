//! What one request costs before the kernel is counted: parse and answer, ours against the codec of
//! `stun-types` driven through the same decisions.
//!
//! `cargo bench -p ferry-stun --bench responder`

use std::hint::black_box;
use std::net::SocketAddr;

use divan::Bencher;
use divan::counter::ItemsCount;
use ferry_stun::{Profile, Responder, TransactionId, client};
use stun_types::attribute::{Fingerprint, Software, XorMappedAddress};
use stun_types::message::{
    BINDING, Message, MessageClass, MessageWrite, MessageWriteExt, MessageWriteMutSlice,
};

fn main() {
    divan::main();
}

/// What is asked.
const REQUESTS: [&str; 4] = ["tailscale", "bare", "wrong_fingerprint", "junk"];

#[divan::bench(args = REQUESTS)]
fn ours(bencher: Bencher<'_, '_>, name: &str) {
    let (request, source) = arrange(name);
    let responder = Responder::new(Profile::Open);
    let mut out = Vec::with_capacity(64);
    bencher
        .counter(ItemsCount::new(1_usize))
        .bench_local(|| responder.answer(black_box(&request), black_box(source), &mut out));
}

#[divan::bench(args = REQUESTS)]
fn stun_types(bencher: Bencher<'_, '_>, name: &str) {
    let (request, source) = arrange(name);
    let mut out = [0; 64];
    bencher
        .counter(ItemsCount::new(1_usize))
        .bench_local(|| answer_with_stun_types(black_box(&request), black_box(source), &mut out));
}

fn answer_with_stun_types(datagram: &[u8], source: SocketAddr, out: &mut [u8]) -> Option<usize> {
    let message = Message::from_bytes(datagram).ok()?;
    // It ignores bytes after the message, which we must not.
    if !message.has_class(MessageClass::Request) || !message.has_method(BINDING) {
        return None;
    }
    let tailnode = message.attribute::<Software>().is_ok_and(|software| software.software() == "tailnode");
    let fingerprint = message.attribute::<Fingerprint>().is_ok();
    let mut answer = Message::builder_success(&message, MessageWriteMutSlice::new(out));
    answer.add_attribute(&XorMappedAddress::new(source, message.transaction_id())).ok()?;
    if fingerprint && !tailnode {
        answer.add_fingerprint().ok()?;
    }
    Some(answer.finish())
}

fn arrange(name: &str) -> (Vec<u8>, SocketAddr) {
    let transaction_id = TransactionId::new([1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12]);
    let mut request = Vec::new();
    match name {
        "bare" => {
            client::write_bare_request(transaction_id, &mut request);
        }
        "junk" => request.extend_from_slice(&[0xFF; 40]),
        _ => {
            client::write_tailscale_request(transaction_id, &mut request);
        }
    }
    if name == "wrong_fingerprint" {
        request.iter_mut().last().into_iter().for_each(|byte| *byte ^= 1);
    }
    (request, SocketAddr::from(([203, 0, 113, 7], 41641)))
}
