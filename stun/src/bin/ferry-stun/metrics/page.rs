//! What `/metrics` tells.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};

use ferry_stun::partner::{PartnerRefusal, PartnerState};
use ferry_stun::{
    ConnectionEnd, Counters, PartnerChannel, RefusalReason, StreamCounters, StreamServer, Transport,
    UdpServer,
};

use super::text::Text;

/// Everything that is counted.
#[derive(Debug)]
pub(crate) struct Readings {
    /// Each UDP listener by its first address.
    udp: Vec<(String, Arc<Counters>)>,
    streams: Arc<StreamCounters>,
    partner: Option<Arc<PartnerChannel>>,
    /// The end is near: load balancers should look elsewhere.
    pub(crate) draining: AtomicBool,
}

/// A counter of a UDP listener: name, what it counts, reading.
type UdpCounter = (&'static str, &'static str, fn(&Counters) -> u64);

/// Names after `ferry_stun_udp_` and before `_total`.
const UDP_COUNTERS: [UdpCounter; 10] = [
    ("datagrams", "Datagrams read.", Counters::received),
    ("success", "Success responses sent.", Counters::success),
    ("errors", "Error responses sent.", Counters::errors),
    ("unanswered", "Datagrams left unanswered because the server is draining.", Counters::unanswered),
    ("read_errors", "Reads that the socket failed.", Counters::read_error),
    ("write_errors", "Answers that the socket or the partner would not take.", Counters::write_error),
    (
        "redirected",
        "Answers from or to another address or port than the request's (RFC 5780).",
        Counters::redirected,
    ),
    ("forwarded", "Answers handed to the partner to send.", Counters::forwarded),
    ("filter_installs", "Times the kernel was told which sources to drop.", Counters::filter_installs),
    ("sources_filtered", "Sources that the kernel was told to drop for a while.", Counters::sources_filtered),
];

impl Readings {
    pub(crate) fn new(
        udp: &[UdpServer],
        streams: &StreamServer,
        partner: Option<&Arc<PartnerChannel>>,
    ) -> Self {
        let counters =
            |server: &UdpServer| (server.local_address().to_string(), Arc::clone(server.counters()));
        Self {
            udp: udp.iter().map(counters).collect(),
            streams: Arc::clone(streams.counters()),
            partner: partner.cloned(),
            draining: AtomicBool::new(false),
        }
    }

    /// The page in Prometheus' text format.
    pub(super) fn prometheus(&self) -> String {
        let mut text = Text::default();
        text.describe("ferry_stun_build_info", "gauge", "The version that runs.");
        text.sample("ferry_stun_build_info", &[("version", env!("CARGO_PKG_VERSION"))], 1);
        text.describe("ferry_stun_draining", "gauge", "Whether the server is about to end.");
        text.sample("ferry_stun_draining", &[], u8::from(self.draining.load(Relaxed)));
        self.write_udp(&mut text);
        self.write_streams(&mut text);
        if let Some(partner) = &self.partner {
            write_partner(&mut text, partner);
        }
        text.finish()
    }

    fn write_udp(&self, text: &mut Text) {
        for (short, help, read) in UDP_COUNTERS {
            let name = format!("ferry_stun_udp_{short}_total");
            text.describe(&name, "counter", help);
            for (listener, counters) in &self.udp {
                text.sample(&name, &[("listener", listener)], read(counters));
            }
        }
        let name = "ferry_stun_udp_requests_total";
        text.describe(name, "counter", "Valid requests by IP version.");
        for (listener, counters) in &self.udp {
            for (family, count) in [("ipv4", counters.ipv4()), ("ipv6", counters.ipv6())] {
                text.sample(name, &[("listener", listener), ("family", family)], count);
            }
        }
        let name = "ferry_stun_udp_refusals_total";
        text.describe(
            name,
            "counter",
            "Datagrams refused, by reason; those answered with an error included.",
        );
        for (listener, counters) in &self.udp {
            for reason in RefusalReason::ALL {
                let labels = [("listener", listener.as_str()), ("reason", reason.name())];
                text.sample(name, &labels, counters.refused(reason));
            }
        }
    }

    fn write_streams(&self, text: &mut Text) {
        let streams = &self.streams;
        let name = "ferry_stun_stream_connections_total";
        text.describe(name, "counter", "TCP and TLS connections accepted.");
        for transport in Transport::ALL {
            text.sample(name, &[("transport", transport.name())], streams.accepted(transport));
        }
        let name = "ferry_stun_stream_connections_ended_total";
        text.describe(
            name,
            "counter",
            "TCP and TLS connections that ended, by reason; refused ones included.",
        );
        for end in ConnectionEnd::ALL {
            text.sample(name, &[("reason", end.name())], streams.ended(end));
        }
        let name = "ferry_stun_stream_connections";
        text.describe(name, "gauge", "TCP and TLS connections now.");
        text.sample(name, &[], streams.open());
        let name = "ferry_stun_stream_accept_errors_total";
        text.describe(name, "counter", "Times the system had no connection to give.");
        text.sample(name, &[], streams.accept_error());
        let name = "ferry_stun_stream_success_total";
        text.describe(name, "counter", "Success responses on TCP and TLS.");
        text.sample(name, &[], streams.success());
        let name = "ferry_stun_stream_refusals_total";
        text.describe(name, "counter", "Messages on TCP and TLS refused, by reason.");
        for reason in RefusalReason::ALL {
            text.sample(name, &[("reason", reason.name())], streams.refused(reason));
        }
    }
}

fn write_partner(text: &mut Text, partner: &PartnerChannel) {
    let status = partner.status();
    let name = "ferry_stun_partner_up";
    text.describe(name, "gauge", "Whether the partner sends for this server.");
    text.sample(name, &[], u8::from(status.state == PartnerState::Up));
    if let Some(round_trip) = status.round_trip {
        let name = "ferry_stun_partner_round_trip_seconds";
        text.describe(name, "gauge", "From the last answered probe of the partner to its reply.");
        text.sample(name, &[], round_trip.as_secs_f64());
    }
    for (short, help, count) in [
        ("forwarded", "Answers handed to the partner.", status.forwarded),
        ("not_forwarded", "Answers for the partner that were not handed over.", status.not_forwarded),
        ("sent", "Answers sent for the partner.", status.sent),
        ("send_errors", "Answers of the partner that a socket would not take.", status.send_error),
        ("read_errors", "Reads that the channel's socket failed.", status.read_error),
    ] {
        let name = format!("ferry_stun_partner_{short}_total");
        text.describe(&name, "counter", help);
        text.sample(&name, &[], count);
    }
    let name = "ferry_stun_partner_refusals_total";
    text.describe(name, "counter", "Datagrams on the partner's channel refused, by reason.");
    for reason in PartnerRefusal::ALL {
        text.sample(name, &[("reason", reason.name())], status.refused(reason));
    }
}
