//! The names of `/bootstrap-dns`.

/// Which names the relay resolves for clients that cannot.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct BootstrapDns {
    /// Served to everybody.
    pub published: Vec<String>,
    /// Served only to those who ask for them by name.
    pub unpublished: Vec<UnpublishedName>,
}

/// A name that is rolled out to a share of the clients.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UnpublishedName {
    /// The name.
    pub name: String,
    /// The DNS name whose TXT record has the percentage; without one everybody gets an answer.
    pub rollout: Option<String>,
}

impl BootstrapDns {
    /// Reads the two comma lists. Spaces around a name and empty entries, which derper would fail to resolve for ever,
    /// are left out.
    pub(crate) fn parse(published: &str, unpublished: &str) -> Self {
        Self {
            published: entries(published).map(str::to_owned).collect(),
            unpublished: entries(unpublished).map(UnpublishedName::parse).collect(),
        }
    }
}

impl UnpublishedName {
    fn parse(entry: &str) -> Self {
        let (name, rollout) = entry.split_once('/').unwrap_or((entry, ""));
        Self { name: name.to_owned(), rollout: Some(rollout.to_owned()).filter(|name| !name.is_empty()) }
    }
}

fn entries(list: &str) -> impl Iterator<Item = &str> {
    list.split(',').map(str::trim).filter(|entry| !entry.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_are_split_and_rollouts_kept() {
        let dns = BootstrapDns::parse(
            "a.example.net, b.example.net,",
            "c.example.net/txt.example.net,d.example.net,e/",
        );
        assert_eq!(dns.published, ["a.example.net", "b.example.net"]);
        let unpublished: Vec<_> =
            dns.unpublished.iter().map(|entry| (entry.name.as_str(), entry.rollout.as_deref())).collect();
        assert_eq!(
            unpublished,
            [("c.example.net", Some("txt.example.net")), ("d.example.net", None), ("e", None)]
        );
        assert_eq!(BootstrapDns::parse("", ","), BootstrapDns::default());
    }
}
