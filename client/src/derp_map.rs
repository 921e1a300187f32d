//! What a client makes of a DERP map, without I/O or a clock: which regions it measures and may call home, what each
//! node is for, how two maps become one, what is wrong with a map, and what differs between two.
//!
//! The map's types and JSON are [`ferry_protocol::derp_map`]'s. Where clients differ, Tailscale's is followed, whose
//! source each rule names (`tailcfg/derpmap.go`, `net/netcheck`, `derp/derphttp`, `control/controlclient/map.go`).
//!
//! ```
//! use ferry_client::derp_map::{Code, Expectations, lint_json};
//!
//! let json = br#"{"Regions":{"900":{"RegionID":900,"RegionCode":"own","RegionName":"Own","Nodes":[
//!     {"Name":"900a","RegionID":900,"HostName":"https://relay.example.net"}]}}}"#;
//! let linted = lint_json(json, None, Expectations::default());
//! assert_eq!(linted.findings[0].code, Code::HostNameInvalid);
//! assert_eq!(linted.findings[0].place.to_string(), "region 900, node 900a");
//! ```

mod diff;
mod finding;
mod keys;
mod lint;
mod merge;
mod roles;

pub use diff::{Change, ChangeKind, diff};
pub use finding::{Code, Finding, Place, Severity};
pub use lint::{Expectations, Linted, lint, lint_json};
pub use merge::MapUpdate;
pub use roles::{
    AddressSource, Excluded, Identity, MEASURED_NODES_MAX, NodeRole, PinError, RegionRole, pinned_sha256,
    region_score, roles,
};
