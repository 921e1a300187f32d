//! What a record's cipher costs, by ring, which is used here, and by aws-lc-rs, which is not: which one is faster is the
//! processor's to say, and this asks it.
//!
//! `cargo bench -p ferry-record`
#![forbid(unsafe_code)]

use divan::counter::BytesCount;
use divan::{Bencher, black_box};

/// A small packet (an acknowledgement in a tunnel), a full one, and a full record of many.
const PLAINTEXT_BYTES: [usize; 3] = [120, 1_437, 16_384];
/// The additional data of TLS 1.3: a record's header.
const HEADER: [u8; 5] = [23, 3, 3, 0, 0];
const TAG_BYTES: usize = 16;

fn main() {
    divan::main();
}

/// The same benchmarks for two crates that have the same interface.
macro_rules! aead {
    ($name:ident, $cipher:ident) => {
        mod $name {
            use ::$name::aead::{Aad, LessSafeKey, Nonce, UnboundKey, $cipher};

            use super::*;

            fn key() -> LessSafeKey {
                LessSafeKey::new(UnboundKey::new(&$cipher, &[7; 16]).expect("a key of 16 bytes"))
            }

            fn nonce() -> Nonce {
                Nonce::assume_unique_for_key([3; 12])
            }

            #[divan::bench(args = PLAINTEXT_BYTES)]
            fn seal(bencher: Bencher<'_, '_>, len: usize) {
                let key = key();
                let mut plain = vec![1; len];
                bencher.counter(BytesCount::new(len)).bench_local(|| {
                    let sealed =
                        key.seal_in_place_separate_tag(nonce(), Aad::from(HEADER), black_box(&mut plain));
                    sealed.map(|tag| black_box(tag).as_ref().len())
                });
            }

            /// With the copy that gives each turn a ciphertext to open.
            #[divan::bench(args = PLAINTEXT_BYTES)]
            fn copy_and_open(bencher: Bencher<'_, '_>, len: usize) {
                let key = key();
                let mut sealed = vec![1; len];
                key.seal_in_place_append_tag(nonce(), Aad::from(HEADER), &mut sealed)
                    .expect("a short record");
                let mut record = vec![0; len + TAG_BYTES];
                bencher.counter(BytesCount::new(len)).bench_local(|| {
                    record.copy_from_slice(&sealed);
                    let plain = key.open_in_place(nonce(), Aad::from(HEADER), black_box(&mut record));
                    black_box(plain.expect("the record sealed above").len())
                });
            }
        }
    };
}

aead!(ring, AES_128_GCM);
aead!(aws_lc_rs, AES_128_GCM);
