//! What is wrong with a map.

mod host;
mod node;
mod region;
mod whole;

use ferry_protocol::derp_map::DerpMap;

use super::finding::{Code, Finding, Place};
use super::merge::MapUpdate;
use super::roles;

/// What a map is meant for, which decides what is wrong with it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Expectations {
    /// Its clients are in the relays' own network: addresses that the internet does not route are as they should be.
    pub private: bool,
    /// It is for tests: so are certificates that nobody checks, and addresses of one machine.
    pub test: bool,
}

/// What came of reading and looking at a map.
#[derive(Debug, Clone, PartialEq)]
pub struct Linted {
    /// The map, joined with what it was laid over; None if the text is none.
    pub map: Option<DerpMap>,
    /// What is wrong with it, the worst first.
    pub findings: Vec<Finding>,
}

impl Linted {
    /// The map, if nothing in it is an error.
    pub fn sound(&self) -> Option<&DerpMap> {
        let has_error = self.findings.iter().any(|finding| finding.severity == super::Severity::Error);
        self.map.as_ref().filter(|_| !has_error)
    }
}

/// What is wrong with the map in a text: laid `over` the defaults, if there are any ([`MapUpdate::over`]).
///
/// Names that no client knows, or that come twice, are only found here: the types do not keep them.
pub fn lint_json(json: &[u8], over: Option<&DerpMap>, expectations: Expectations) -> Linted {
    let (update, mut findings) = match MapUpdate::with_findings(json) {
        Ok(read) => read,
        Err(error) => {
            let why = format!("no client reads this as a map: {error}");
            let fix = "correct the JSON there; comments and commas before a closing bracket are not JSON, though \
                Tailscale's policy files have them";
            let findings = vec![Finding::new(Code::NotAMap, Place::MAP, why, fix)];
            return Linted { map: None, findings };
        }
    };
    let map = over.map_or_else(|| update.map.clone(), |defaults| update.over(defaults));
    findings.extend(lint(&map, expectations));
    findings.sort_by_key(|finding| finding.severity);
    Linted { map: Some(map), findings }
}

/// What is wrong with a map, the worst first, and then in the order of the map.
pub fn lint(map: &DerpMap, expectations: Expectations) -> Vec<Finding> {
    let roles = roles(map);
    let mut findings = Findings::default();
    whole::check(map, &roles, &mut findings);
    for (role, region) in roles.iter().zip(map.regions.values()) {
        region::check(role, region, &mut findings);
        for (index, node) in region.nodes.iter().enumerate() {
            let place = Place::node(Some(role.region), &node.name, index);
            node::check(node, role.region, &place, expectations, &mut findings);
        }
    }
    findings.0.sort_by_key(|finding| finding.severity);
    findings.0
}

/// What was found so far.
#[derive(Debug, Default)]
struct Findings(Vec<Finding>);

impl Findings {
    fn add(&mut self, code: Code, place: &Place, why: impl Into<String>, fix: impl Into<String>) {
        self.0.push(Finding::new(code, place.clone(), why, fix));
    }
}
