//! A relay in this process, on ports of its own and with a folder of its own.

use std::net::{Ipv4Addr, SocketAddr};
use std::num::NonZeroUsize;
use std::time::{Duration, Instant};

use ferry_protocol::NodePublicKey;
use ferry_relay::{Addresses, Cli, Config, Machine, Relay};
use tempfile::TempDir;

/// The address, and the host name, of every relay here.
pub const LOCALHOST: &str = "127.0.0.1";

/// A relay that stops when it is dropped.
#[derive(Debug)]
pub struct TestRelay {
    relay: Option<Relay>,
    /// Key file and certificate; gone with the relay.
    dir: TempDir,
    address: SocketAddr,
    stun: Option<SocketAddr>,
    key: NodePublicKey,
    tls: bool,
}

impl TestRelay {
    /// Plain HTTP, as behind a proxy that ends TLS.
    pub fn plain() -> Self {
        Self::plain_with(&[])
    }

    /// Plain HTTP with more flags; a `{dir}` in one stands for the relay's folder.
    pub fn plain_with(flags: &[&str]) -> Self {
        Self::plain_prepared(&[], flags)
    }

    /// Plain HTTP with more flags, and files that are there before the relay starts.
    pub fn plain_prepared(files: &[(&str, &str)], flags: &[&str]) -> Self {
        Self::start(files, &["-a", "127.0.0.1:0"], flags, false)
    }

    /// TLS with a self-signed certificate for [`LOCALHOST`].
    pub fn tls() -> Self {
        Self::tls_with(&[])
    }

    /// TLS with more flags.
    pub fn tls_with(flags: &[&str]) -> Self {
        Self::tls_prepared(&[], flags)
    }

    /// TLS with more flags, and files that are there before the relay starts.
    pub fn tls_prepared(files: &[(&str, &str)], flags: &[&str]) -> Self {
        let listen =
            ["-a", "127.0.0.1:0", "-certmode", "manual", "-certdir", "{dir}", "-hostname", LOCALHOST];
        Self::start(files, &listen, flags, true)
    }

    fn start(files: &[(&str, &str)], listen: &[&str], flags: &[&str], tls: bool) -> Self {
        let dir = tempfile::tempdir().expect("a folder for the relay");
        for (name, text) in files {
            std::fs::write(dir.path().join(name), text).expect("a file for the relay");
        }
        let here = dir.path().to_str().expect("a folder with a plain name");
        // No variable of the one who runs the tests changes them; two threads, so that packets cross.
        let cores = NonZeroUsize::new(2).expect("not zero");
        let machine = Machine::new(&|_| None, false, cores);
        let always =
            ["ferry-relay", "-http-port", "-1", "-stun=false", "-mesh-psk-file=", "-c", "{dir}/relay.key"];
        let words = always.iter().chain(listen).chain(flags).map(|word| word.replace("{dir}", here));
        let cli = Cli::parse_from(words).expect("flags that the relay knows");
        let config = Config::check(&cli, &machine).expect("a relay that makes sense");
        let relay = Relay::start(config).expect("a relay that starts");
        let Addresses { main: address, stun, .. } = *relay.addresses();
        Self { address, stun, key: *relay.public_key(), relay: Some(relay), dir, tls }
    }

    /// Where STUN is answered, if the flags turned it on.
    pub const fn stun_address(&self) -> Option<SocketAddr> {
        self.stun
    }

    /// Where clients connect.
    pub const fn address(&self) -> SocketAddr {
        self.address
    }

    /// The relay's key.
    pub const fn key(&self) -> &NodePublicKey {
        &self.key
    }

    /// Whether clients must speak TLS.
    pub const fn is_tls(&self) -> bool {
        self.tls
    }

    /// The certificate that clients must trust, PEM.
    pub fn certificate_pem(&self) -> Vec<u8> {
        let path = self.dir.path().join(format!("{LOCALHOST}.crt"));
        std::fs::read(path).expect("the certificate that a TLS relay made")
    }

    /// The `Host` that clients ask for.
    pub fn host(&self) -> String {
        self.address.to_string()
    }

    /// The IPv4 address; every relay here has one.
    pub fn ipv4(&self) -> Ipv4Addr {
        match self.address {
            SocketAddr::V4(address) => *address.ip(),
            SocketAddr::V6(_) => Ipv4Addr::LOCALHOST,
        }
    }

    /// Stops the relay as a signal would; answers how long that took.
    pub fn stop(&mut self, grace: Duration) -> Duration {
        let relay = self.relay.take().expect("a relay stops once");
        let began = Instant::now();
        relay.stop(grace);
        began.elapsed()
    }
}
