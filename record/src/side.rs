//! Client or server: what differs between the two ends.

use std::ops::DerefMut;

use rustls::client::{ClientConnectionData, UnbufferedClientConnection};
use rustls::kernel::KernelConnection;
use rustls::server::{ServerConnectionData, UnbufferedServerConnection};
use rustls::unbuffered::{UnbufferedConnectionCommon, UnbufferedStatus};
use rustls::{Error, ExtractedSecrets};

/// An end of a connection: [`ClientConnectionData`] or [`ServerConnectionData`], as rustls names them.
pub trait Side: sealed::Sealed + Sized {
    /// rustls' state machine of this end.
    type Connection: DerefMut<Target = UnbufferedConnectionCommon<Self>>;

    /// The client is sent session tickets, and may ignore a HelloRequest of TLS 1.2.
    const IS_CLIENT: bool;

    /// Has rustls work on what was received.
    fn process<'c, 'i>(
        connection: &'c mut Self::Connection,
        received: &'i mut [u8],
    ) -> UnbufferedStatus<'c, 'i, Self>;

    /// The secrets of a finished handshake, and the schedule that makes the next ones.
    fn secrets(connection: Self::Connection) -> Result<(ExtractedSecrets, KernelConnection<Self>), Error>;

    /// Keeps a session ticket of TLS 1.3 for the next connection.
    fn keep_ticket(schedule: &mut KernelConnection<Self>, body: &[u8]) -> Result<(), Error>;
}

impl Side for ClientConnectionData {
    type Connection = UnbufferedClientConnection;

    const IS_CLIENT: bool = true;

    fn process<'c, 'i>(
        connection: &'c mut Self::Connection,
        received: &'i mut [u8],
    ) -> UnbufferedStatus<'c, 'i, Self> {
        connection.process_tls_records(received)
    }

    fn secrets(connection: Self::Connection) -> Result<(ExtractedSecrets, KernelConnection<Self>), Error> {
        connection.dangerous_into_kernel_connection()
    }

    fn keep_ticket(schedule: &mut KernelConnection<Self>, body: &[u8]) -> Result<(), Error> {
        schedule.handle_new_session_ticket(body)
    }
}

impl Side for ServerConnectionData {
    type Connection = UnbufferedServerConnection;

    const IS_CLIENT: bool = false;

    fn process<'c, 'i>(
        connection: &'c mut Self::Connection,
        received: &'i mut [u8],
    ) -> UnbufferedStatus<'c, 'i, Self> {
        connection.process_tls_records(received)
    }

    fn secrets(connection: Self::Connection) -> Result<(ExtractedSecrets, KernelConnection<Self>), Error> {
        connection.dangerous_into_kernel_connection()
    }

    fn keep_ticket(_: &mut KernelConnection<Self>, _: &[u8]) -> Result<(), Error> {
        Err(Error::General("a server keeps no tickets".to_owned()))
    }
}

mod sealed {
    //! Nobody else is an end.

    pub trait Sealed {}
    impl Sealed for super::ClientConnectionData {}
    impl Sealed for super::ServerConnectionData {}
}
