//! How two maps become one.

use std::collections::BTreeSet;

use ferry_protocol::derp_map::{DerpMap, HomeParams, RegionId};

use super::finding::Finding;
use super::keys::{self, Keys};

/// A map as a change of another, with what a [`DerpMap`] alone does not keep: which regions are `null`, and whether
/// there are regions at all.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct MapUpdate {
    /// What it sets.
    pub map: DerpMap,
    /// Regions that are `null`.
    pub removed: BTreeSet<RegionId>,
    /// Whether it has `Regions`, even if there are none in them.
    pub has_regions: bool,
}

impl MapUpdate {
    /// The change in a JSON text.
    pub fn from_json(json: &[u8]) -> Result<Self, serde_json::Error> {
        Self::with_findings(json).map(|(update, _)| update)
    }

    /// The same, and what is wrong with the names in the text.
    pub(super) fn with_findings(json: &[u8]) -> Result<(Self, Vec<Finding>), serde_json::Error> {
        let map = DerpMap::from_json(json)?;
        let Keys { findings, null_regions, has_regions } = keys::walk(json)?;
        Ok((Self { map, removed: null_regions, has_regions }, findings))
    }

    /// A tailnet's own map over the defaults, as a control plane joins them.
    ///
    /// - A region of one's own replaces the default one of its number whole, and `null` removes it (Tailscale's
    ///   documentation of custom DERP servers; headscale's `mergeDERPMaps` with a region of the later map).
    /// - `omitDefaultRegions` leaves the defaults out, but does nothing where no region of one's own is set
    ///   (`tailcfg/derpmap.go`).
    /// - Scores follow the rule of [`after`](Self::after). headscale's merge loses them, and Tailscale does not say.
    pub fn over(&self, defaults: &DerpMap) -> DerpMap {
        let omits = self.map.omit_default_regions && !self.map.regions.is_empty();
        let mut regions = if omits { self.map.regions.clone() } else { defaults.regions.clone() };
        regions.extend(self.map.regions.iter().map(|(id, region)| (*id, region.clone())));
        regions.retain(|id, _| !self.removed.contains(id));
        DerpMap {
            home_params: self.home_params_after(defaults),
            regions,
            omit_default_regions: self.map.omit_default_regions,
        }
    }

    /// The next map after the one that a client has, as the client reads what its control plane sends
    /// (`control/controlclient/map.go`).
    ///
    /// - No `Regions`: they stay as they were, `omitDefaultRegions` too. Otherwise they are all there is.
    /// - No `HomeParams`, or no `RegionScore` in them: the scores stay. `{}` sets all back to 1.
    pub fn after(&self, previous: &DerpMap) -> DerpMap {
        let regions_from = if self.has_regions { &self.map } else { previous };
        DerpMap {
            home_params: self.home_params_after(previous),
            regions: regions_from.regions.clone(),
            omit_default_regions: regions_from.omit_default_regions,
        }
    }

    fn home_params_after(&self, previous: &DerpMap) -> Option<HomeParams> {
        let Some(params) = &self.map.home_params else { return previous.home_params.clone() };
        let previous = || previous.region_scores().cloned();
        Some(HomeParams { region_score: params.region_score.clone().or_else(previous) })
    }
}

#[cfg(test)]
mod tests {
    use super::super::region_score;
    use super::*;

    const DEFAULTS: &str = r#"{"HomeParams":{"RegionScore":{"1":2}},
        "Regions":{"1":{"RegionCode":"nyc"},"2":{"RegionCode":"sfo","Nodes":[{"Name":"2a"}]}}}"#;

    #[test]
    fn own_regions_are_added_and_replace_whole_ones() {
        let merged = over(r#"{"Regions":{"2":{"RegionCode":"mine"},"900":{"RegionCode":"own"}}}"#);
        assert_eq!(codes(&merged), [(1, "nyc"), (2, "mine"), (900, "own")]);
        assert!(merged.regions[&RegionId(2)].nodes.is_empty(), "nothing of the default is left in it");
    }

    #[test]
    fn null_removes_a_region() {
        assert_eq!(codes(&over(r#"{"Regions":{"1":null,"7":null}}"#)), [(2, "sfo")]);
        assert_eq!(codes(&over(r#"{"regions":{"+1":null}}"#)), [(2, "sfo")]);
    }

    #[test]
    fn omitting_the_defaults_needs_regions_of_ones_own() {
        let own = r#"{"Regions":{"900":{"RegionCode":"own"}},"OmitDefaultRegions":true}"#;
        assert_eq!(codes(&over(own)), [(900, "own")]);
        for nothing in [r#"{"omitDefaultRegions":true}"#, r#"{"omitDefaultRegions":true,"Regions":{}}"#] {
            assert_eq!(codes(&over(nothing)), [(1, "nyc"), (2, "sfo")], "{nothing}");
        }
    }

    #[test]
    fn no_scores_leave_them_and_empty_ones_reset_them() {
        for (json, score) in [
            ("{}", 2.0),
            (r#"{"HomeParams":null}"#, 2.0),
            (r#"{"HomeParams":{}}"#, 2.0),
            (r#"{"HomeParams":{"RegionScore":null}}"#, 2.0),
            (r#"{"HomeParams":{"RegionScore":{}}}"#, 1.0),
            (r#"{"HomeParams":{"RegionScore":{"2":5}}}"#, 1.0),
            (r#"{"HomeParams":{"RegionScore":{"1":0.5}}}"#, 0.5),
        ] {
            assert_eq!(region_score(&after(json), RegionId(1)), score, "{json}");
            assert_eq!(region_score(&over(json), RegionId(1)), score, "{json}");
        }
    }

    #[test]
    fn a_client_keeps_its_regions_until_it_gets_others() {
        for nothing in ["{}", r#"{"Regions":null,"omitDefaultRegions":true}"#] {
            let next = after(nothing);
            assert_eq!(codes(&next), [(1, "nyc"), (2, "sfo")], "{nothing}");
            assert!(!next.omit_default_regions, "only meaningful with regions");
        }
        assert_eq!(codes(&after(r#"{"Regions":{}}"#)), []);
        assert_eq!(codes(&after(r#"{"Regions":{"3":{"RegionCode":"x"},"1":null}}"#)), [(3, "x")]);
    }

    fn defaults() -> DerpMap {
        DerpMap::from_json(DEFAULTS.as_bytes()).unwrap()
    }

    fn over(json: &str) -> DerpMap {
        MapUpdate::from_json(json.as_bytes()).unwrap().over(&defaults())
    }

    fn after(json: &str) -> DerpMap {
        MapUpdate::from_json(json.as_bytes()).unwrap().after(&defaults())
    }

    fn codes(map: &DerpMap) -> Vec<(i64, &str)> {
        map.regions.iter().map(|(id, region)| (id.0, region.region_code.as_str())).collect()
    }
}
