//! Which nodes are asked over STUN, how often, and when.

use std::collections::BTreeMap;
use std::time::Duration;

use ferry_protocol::derp_map::RegionId;
use ferry_stun::client::Schedule;

use super::target::{Area, Target};
use super::{Family, Scope};

/// The first node of a region is asked at these times until it answers. Tailscale's three tries of the first 200 ms, which a
/// short outage swallows together, and two more.
const FIRST_NODE: [Duration; 4] = gaps([100, 150, 350, 600]);
/// The others, which are there for the report's details and in case the first is down.
const OTHER_NODES: [Duration; 2] = gaps([200, 400]);
/// How long an answer to the last is waited for.
const PATIENCE: Duration = Duration::from_millis(600);
/// Between one node of a region and the next, so that not all is asked in one burst.
const NODES_APART: Duration = Duration::from_millis(50);
/// Between two tries in an incremental report where no latency is known.
const GAP_UNKNOWN: Duration = Duration::from_millis(200);
/// Two tries are this many percent of the last latency apart.
const GAP_PERCENT: u32 = 120;
/// Regions of an incremental report beside the home.
const FASTEST: usize = 3;

const fn gaps<const N: usize>(millis: [u64; N]) -> [Duration; N] {
    let mut gaps = [Duration::ZERO; N];
    let mut place = 0;
    while place < N {
        #[expect(clippy::indexing_slicing, reason = "place is below N; a constant function has no iterators")]
        {
            gaps[place] = Duration::from_millis(millis[place]);
        }
        place += 1;
    }
    gaps
}

/// One node to ask over one family.
#[derive(Debug)]
pub(super) struct Planned {
    /// Its place among the targets.
    pub(super) target: usize,
    pub(super) family: Family,
    /// After its address and a socket are there.
    pub(super) offset: Duration,
    pub(super) schedule: Schedule,
    /// It is asked once more after its first answer: of two times the shorter is nearer to the truth.
    pub(super) twice: bool,
    /// It is not asked any more once another node of its region has answered over its family.
    pub(super) spare: bool,
}

/// What is asked in a report.
pub(super) fn plan(
    scope: &Scope,
    home: Option<RegionId>,
    areas: &[Area],
    targets: &[Target],
) -> Vec<Planned> {
    match scope {
        Scope::Full => areas.iter().flat_map(|area| full(area, targets)).collect(),
        Scope::Incremental(previous) => incremental(previous, home, areas, targets),
    }
}

/// Every node over both families.
fn full(area: &Area, targets: &[Target]) -> Vec<Planned> {
    let asked = with_stun(area, targets).flat_map(|(target, place)| {
        let gaps = if place == 0 { &FIRST_NODE[..] } else { &OTHER_NODES };
        let offset = NODES_APART * place as u32;
        let schedule = Schedule::with_gaps(gaps, PATIENCE);
        Family::BOTH.map(|family| Planned { target, family, offset, schedule, twice: true, spare: false })
    });
    asked.collect()
}

/// The home and the fastest, first by one node, and by the next if that is silent.
fn incremental(
    previous: &Previous,
    home: Option<RegionId>,
    areas: &[Area],
    targets: &[Target],
) -> Vec<Planned> {
    let latency = |area: &Area| previous.latencies.get(&area.role.region).copied();
    let mut ranked: Vec<&Area> = areas.iter().filter(|area| !area.targets.is_empty()).collect();
    ranked.sort_by_key(|area| (latency(area).unwrap_or(Duration::MAX), area.role.region));
    let is_home = |area: &Area| home == Some(area.role.region);
    // Regions to avoid are looked at in full reports, where all are.
    let fastest = ranked.iter().filter(|area| !is_home(area) && !area.role.avoid).take(FASTEST);
    let asked = ranked.iter().filter(|area| is_home(area)).chain(fastest);
    let mut planned = Vec::new();
    for area in asked {
        let gap = latency(area).map_or(GAP_UNKNOWN, |latency| latency * GAP_PERCENT / 100);
        let schedule = Schedule::with_gaps(&[gap; 3], gap.max(PATIENCE));
        for (target, place) in with_stun(area, targets) {
            let offset = gap * 2 * place as u32;
            for family in Family::BOTH {
                // Where IPv6 did not work it is tried at home alone, in case it does now.
                if family == Family::Ipv4 || previous.ipv6 || is_home(area) {
                    let spare = place > 0;
                    planned.push(Planned { target, family, offset, schedule, twice: false, spare });
                }
            }
        }
    }
    planned
}

/// The nodes of a region that have STUN, by their places among the targets, and counted from 0.
fn with_stun<'a>(area: &'a Area, targets: &'a [Target]) -> impl Iterator<Item = (usize, usize)> + 'a {
    let with_stun = area
        .targets
        .iter()
        .copied()
        .filter(|target| targets.get(*target).is_some_and(|target| target.stun_port.is_some()));
    with_stun.enumerate().map(|(place, target)| (target, place))
}

/// What an earlier report says to the next.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Previous {
    /// Each region's latency.
    pub latencies: BTreeMap<RegionId, Duration>,
    /// Whether IPv6 worked.
    pub ipv6: bool,
}

#[cfg(test)]
mod tests {
    use ferry_protocol::derp_map::DerpMap;

    use super::super::names::Names;
    use super::super::target::targets;
    use super::*;

    /// Regions 1 to 5 of two nodes each; the third is to be avoided.
    fn map() -> DerpMap {
        let region = |id: u32| {
            let avoid = id == 3;
            format!(
                r#""{id}":{{"RegionID":{id},"Avoid":{avoid},"Nodes":[
                    {{"Name":"{id}a","HostName":"a","IPv4":"192.0.2.{id}"}},{{"Name":"{id}b","HostName":"b"}}]}}"#
            )
        };
        let regions: Vec<_> = (1..=5).map(region).collect();
        DerpMap::from_json(format!(r#"{{"Regions":{{{}}}}}"#, regions.join(",")).as_bytes()).unwrap()
    }

    fn planned(scope: &Scope, home: Option<RegionId>) -> Vec<(i64, String, Family)> {
        let (areas, targets) = targets(&map(), &mut Names::default());
        let planned = plan(scope, home, &areas, &targets);
        let shown = planned.iter().map(|planned| {
            let target = &targets[planned.target];
            (target.region.0, target.name.clone(), planned.family)
        });
        shown.collect()
    }

    #[test]
    fn a_full_report_asks_every_node_over_both_families() {
        let planned = planned(&Scope::Full, None);
        assert_eq!(planned.len(), 5 * 2 * 2);
        assert_eq!(planned[..2], [(1, "1a".to_owned(), Family::Ipv4), (1, "1a".to_owned(), Family::Ipv6)]);
    }

    #[test]
    fn an_incremental_report_asks_the_home_and_the_three_fastest() {
        let latencies = [(5, 10), (4, 20), (3, 30), (2, 40)];
        let latencies = latencies.map(|(id, millis)| (RegionId(id), Duration::from_millis(millis))).into();
        let scope = Scope::Incremental(Previous { latencies, ipv6: false });
        let regions = |home| {
            let mut regions: Vec<_> = planned(&scope, home).iter().map(|(region, _, _)| *region).collect();
            regions.dedup();
            regions
        };
        assert_eq!(regions(None), [5, 4, 2]);
        assert_eq!(regions(Some(RegionId(1))), [1, 5, 4, 2], "an unmeasured home too");
        assert_eq!(regions(Some(RegionId(3))), [3, 5, 4, 2], "and one to be avoided");
        assert_eq!(regions(Some(RegionId(4))), [4, 5, 2, 1]);
        let sixth = planned(&scope, Some(RegionId(4)));
        let over_ipv6: Vec<_> = sixth.iter().filter(|(_, _, family)| *family == Family::Ipv6).collect();
        assert_eq!(over_ipv6.len(), 2, "the home's two nodes alone: {over_ipv6:?}");
    }
}
