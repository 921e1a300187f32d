//! The series of the channel to the STUN partner. A relay without one has none of them, or it would look down.

use ferry_stun::partner::PartnerRefusal;

use super::{PartnerReadings, text::Text};

/// Writes them all, as `ferry-stun` does under its own prefix.
pub(super) fn write(text: &mut Text, readings: &PartnerReadings) {
    text.help(
        "ferry_relay_stun_partner_up",
        "Whether the partner sends for this relay; if not, change IP is refused",
    );
    text.gauge("ferry_relay_stun_partner_up", u8::from(readings.up));
    if let Some(round_trip) = readings.round_trip_secs {
        let name = "ferry_relay_stun_partner_round_trip_seconds";
        text.help(name, "From the last answered probe of the partner to its reply");
        text.gauge(name, round_trip);
    }
    for (name, help, count) in [
        (
            "ferry_relay_stun_partner_forwarded_total",
            "STUN answers handed to the partner. They are among the answers of this relay, not of the partner",
            readings.forwarded,
        ),
        (
            "ferry_relay_stun_partner_not_forwarded_total",
            "STUN answers for the partner that were not handed over",
            readings.not_forwarded,
        ),
        ("ferry_relay_stun_partner_sent_total", "STUN answers sent for the partner", readings.sent),
        (
            "ferry_relay_stun_partner_send_errors_total",
            "STUN answers of the partner that a socket would not take",
            readings.send_error,
        ),
        (
            "ferry_relay_stun_partner_read_errors_total",
            "Reads that the channel's socket failed",
            readings.read_error,
        ),
    ] {
        text.help(name, help);
        text.counter(name, count);
    }
    let name = "ferry_relay_stun_partner_refusals_total";
    text.help(name, "Datagrams on the partner's channel refused, each for exactly one reason");
    text.kind(name, "counter");
    for (reason, count) in PartnerRefusal::ALL.into_iter().zip(readings.refused) {
        text.sample(name, &[("reason", reason.name())], count);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::metrics::{Exporter, Snapshot};

    fn page(stun_partner: Option<PartnerReadings>) -> String {
        Exporter::new("1.0").render(&Snapshot { stun_partner, ..Snapshot::default() })
    }

    #[test]
    fn a_partner_is_shown_with_its_every_reading() {
        let mut readings = PartnerReadings {
            up: true,
            round_trip_secs: Some(0.0125),
            forwarded: 2,
            not_forwarded: 3,
            sent: 4,
            send_error: 5,
            read_error: 6,
            refused: [0; PartnerRefusal::ALL.len()],
        };
        readings.refused[PartnerRefusal::Forged as usize] = 7;
        let page = page(Some(readings));
        for line in [
            "up 1",
            "round_trip_seconds 0.0125",
            "forwarded_total 2",
            "not_forwarded_total 3",
            "sent_total 4",
            "send_errors_total 5",
            "read_errors_total 6",
            "refusals_total{reason=\"forged\"} 7",
            "refusals_total{reason=\"total_rate\"} 0",
        ] {
            assert!(page.contains(&format!("\nferry_relay_stun_partner_{line}\n")), "{line} in {page}");
        }
    }

    #[test]
    fn a_partner_never_heard_is_down_and_has_no_round_trip() {
        let page = page(Some(PartnerReadings::default()));
        assert!(page.contains("\nferry_relay_stun_partner_up 0\n"), "{page}");
        assert!(!page.contains("round_trip"), "{page}");
    }

    #[test]
    fn without_a_partner_there_is_nothing_to_alert_on() {
        assert!(!page(None).contains("stun_partner"));
    }

    #[test]
    fn every_series_has_a_description_and_a_type() {
        let readings = PartnerReadings { round_trip_secs: Some(0.1), ..PartnerReadings::default() };
        let mut text = Text::default();
        write(&mut text, &readings);
        let page = text.finish();
        for line in page.lines().filter(|line| !line.starts_with('#')) {
            let name = line.split(['{', ' ']).next().unwrap();
            assert!(page.contains(&format!("# HELP {name} ")), "{name}");
            assert!(page.contains(&format!("# TYPE {name} ")), "{name}");
        }
    }
}
