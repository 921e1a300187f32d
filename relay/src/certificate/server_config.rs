//! The TLS settings that derper has, in rustls' words.

use std::sync::Arc;

use rustls::ServerConfig;
use rustls::crypto::{CryptoProvider, aws_lc_rs};
use rustls::server::ServerSessionMemoryCache;
use rustls::version::{TLS12, TLS13};

use super::CertificateStore;

/// The settings of the TLS listener; the certificate is asked of the store at each handshake.
pub(crate) fn server_config(store: Arc<CertificateStore>) -> Result<ServerConfig, rustls::Error> {
    let mut config = ServerConfig::builder_with_provider(provider())
        .with_protocol_versions(&[&TLS13, &TLS12])?
        .with_no_client_auth()
        .with_cert_resolver(store);
    // derper's order, and the server's order counts: a browser gets HTTP/1.1, which can upgrade to a WebSocket.
    config.alpn_protocols = vec![b"http/1.1".to_vec(), b"h2".to_vec()];
    // A client that comes back, as all do after a restart of their network, spares us the certificate and its signature.
    config.ticketer = aws_lc_rs::Ticketer::new()?;
    // For TLS 1.2 clients without tickets.
    config.session_storage = ServerSessionMemoryCache::new(SESSIONS_MAX);
    // Go sends one ticket, and a client that holds one connection for days needs no second.
    config.send_tls13_tickets = 1;
    // The record layer after the handshake is ours.
    config.enable_secret_extraction = true;
    Ok(config)
}

/// rustls' own cryptography, named rather than installed for the whole process: an embedder may have another.
pub(super) fn provider() -> Arc<CryptoProvider> {
    Arc::new(aws_lc_rs::default_provider())
}

/// TLS 1.2 sessions kept for resumption, a few hundred bytes each.
const SESSIONS_MAX: usize = 1024;

#[cfg(test)]
mod tests {
    use std::time::SystemTime;

    use rustls::client::Resumption;
    use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
    use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
    use rustls::{
        ClientConfig, ClientConnection, DigitallySignedStruct, HandshakeKind, ProtocolVersion,
        ServerConnection, SignatureScheme, SupportedProtocolVersion,
    };

    use super::*;
    use crate::config::Hostname;

    #[test]
    fn both_versions_get_the_chain_with_the_meta_certificate_last() {
        for (version, negotiated) in [(&TLS13, ProtocolVersion::TLSv1_3), (&TLS12, ProtocolVersion::TLSv1_2)]
        {
            let (server, client) = connect(&server("relay.test"), client(version), "relay.test").unwrap();
            assert_eq!(server.protocol_version(), Some(negotiated));
            let chain = client.peer_certificates().unwrap();
            assert_eq!((chain.len(), &chain[1]), (2, &meta()));
        }
    }

    #[test]
    fn another_name_or_none_is_refused_unless_the_host_name_is_an_address() {
        let named = server("relay.test");
        assert!(connect(&named, client(&TLS13), "RELAY.test").is_ok());
        for name in ["other.test", "127.0.0.1"] {
            let error = connect(&named, client(&TLS13), name).unwrap_err();
            assert!(error.to_string().contains("no server certificate chain resolved"), "{name}: {error}");
        }
        let by_address = server("192.0.2.1");
        for name in ["192.0.2.1", "198.51.100.1", "other.test"] {
            assert!(connect(&by_address, client(&TLS13), name).is_ok(), "{name}");
        }
    }

    #[test]
    fn the_servers_order_of_protocols_counts() {
        for (offered, chosen) in
            [(vec!["h2", "http/1.1"], Some("http/1.1")), (vec!["h2"], Some("h2")), (vec![], None)]
        {
            let mut client = client(&TLS13);
            client.alpn_protocols = offered.iter().map(|name| name.as_bytes().to_vec()).collect();
            let (server, _) = connect(&server("relay.test"), client, "relay.test").unwrap();
            assert_eq!(server.alpn_protocol(), chosen.map(str::as_bytes), "{offered:?}");
        }
        let mut client = client(&TLS13);
        client.alpn_protocols = vec![b"spdy/3".to_vec()];
        let error = connect(&server("relay.test"), client, "relay.test").unwrap_err();
        assert_eq!(error, rustls::Error::NoApplicationProtocol);
    }

    #[test]
    fn a_client_that_comes_back_is_resumed() {
        for version in [&TLS13, &TLS12] {
            let (server, mut client) = (server("relay.test"), client(version));
            client.resumption = Resumption::in_memory_sessions(8);
            let client = Arc::new(client);
            for kind in [HandshakeKind::Full, HandshakeKind::Resumed] {
                let (server, _) = connect_shared(&server, &client, "relay.test").unwrap();
                // The same for both versions; a retry for another key share would say FullWithHelloRetryRequest.
                assert_eq!(server.handshake_kind(), Some(kind), "{version:?}");
            }
        }
    }

    #[test]
    fn the_secrets_can_be_taken_over() {
        for version in [&TLS13, &TLS12] {
            let (server, _) = connect(&server("relay.test"), client(version), "relay.test").unwrap();
            assert!(server.dangerous_extract_secrets().is_ok());
        }
    }

    fn server(hostname: &str) -> Arc<ServerConfig> {
        let hostname = Hostname::parse(hostname).unwrap();
        let store = CertificateStore::in_memory(&hostname, meta(), SystemTime::now()).unwrap();
        Arc::new(server_config(Arc::new(store)).unwrap())
    }

    /// A stand-in: nobody looks into it.
    fn meta() -> CertificateDer<'static> {
        CertificateDer::from(b"meta".to_vec())
    }

    fn client(version: &'static SupportedProtocolVersion) -> ClientConfig {
        let mut config = ClientConfig::builder_with_provider(provider())
            .with_protocol_versions(&[version])
            .unwrap()
            .dangerous()
            .with_custom_certificate_verifier(Arc::new(Anybody))
            .with_no_client_auth();
        config.resumption = Resumption::disabled();
        config
    }

    fn connect(
        server: &Arc<ServerConfig>,
        client: ClientConfig,
        name: &'static str,
    ) -> Result<(ServerConnection, ClientConnection), rustls::Error> {
        connect_shared(server, &Arc::new(client), name)
    }

    /// A handshake in memory, and what the server sends after it.
    fn connect_shared(
        server: &Arc<ServerConfig>,
        client: &Arc<ClientConfig>,
        name: &'static str,
    ) -> Result<(ServerConnection, ClientConnection), rustls::Error> {
        let mut server = ServerConnection::new(Arc::clone(server))?;
        let mut client =
            ClientConnection::new(Arc::clone(client), ServerName::try_from(name).map_err(general)?)?;
        while client.wants_write() || server.wants_write() {
            let mut bytes = Vec::new();
            client.write_tls(&mut bytes).map_err(general)?;
            server.read_tls(&mut bytes.as_slice()).map_err(general)?;
            server.process_new_packets()?;
            let mut bytes = Vec::new();
            while server.wants_write() {
                server.write_tls(&mut bytes).map_err(general)?;
            }
            client.read_tls(&mut bytes.as_slice()).map_err(general)?;
            client.process_new_packets()?;
        }
        Ok((server, client))
    }

    fn general(error: impl std::fmt::Display) -> rustls::Error {
        rustls::Error::General(error.to_string())
    }

    /// A client that takes every certificate: who is trusted is not what these tests are about.
    #[derive(Debug)]
    struct Anybody;

    impl ServerCertVerifier for Anybody {
        fn verify_server_cert(
            &self,
            _: &CertificateDer<'_>,
            _: &[CertificateDer<'_>],
            _: &ServerName<'_>,
            _: &[u8],
            _: UnixTime,
        ) -> Result<ServerCertVerified, rustls::Error> {
            Ok(ServerCertVerified::assertion())
        }

        fn verify_tls12_signature(
            &self,
            _: &[u8],
            _: &CertificateDer<'_>,
            _: &DigitallySignedStruct,
        ) -> Result<HandshakeSignatureValid, rustls::Error> {
            Ok(HandshakeSignatureValid::assertion())
        }

        fn verify_tls13_signature(
            &self,
            _: &[u8],
            _: &CertificateDer<'_>,
            _: &DigitallySignedStruct,
        ) -> Result<HandshakeSignatureValid, rustls::Error> {
            Ok(HandshakeSignatureValid::assertion())
        }

        fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
            provider().signature_verification_algorithms.supported_schemes()
        }
    }
}
