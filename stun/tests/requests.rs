//! The table of requests, through the responder alone; `server.rs` asks the same over loopback.

mod common;

use common::address;
use common::requests::{Expected, cases, check_answer};
use ferry_stun::{Outcome, Profile, RefusalReason, Responder};

#[test]
fn the_responder_answers_each_request_as_it_must() {
    assert_eq!(cases().len(), 26);
    for source in ["203.0.113.7:41641", "[2001:db8::7]:41641", "[::ffff:203.0.113.7]:41641"].map(address) {
        for case in cases() {
            let mut out = Vec::new();
            match Responder::new(Profile::Open).answer(&case.request, source, &mut out) {
                Outcome::Silence(reason) => {
                    assert_eq!(case.expected, Expected::Silence(reason), "{}", case.name);
                }
                Outcome::Error { len, reason } => {
                    assert_eq!((len, reason), (out.len(), RefusalReason::UnknownAttribute), "{}", case.name);
                    check_answer(case.name, &case.expected, &out, source);
                }
                Outcome::Answer { len } => {
                    assert_eq!(len, out.len(), "{}", case.name);
                    check_answer(case.name, &case.expected, &out, source);
                }
            }
        }
    }
}
