//! A story as it is recorded: rules, a host, and steps with what pf did at each.

use serde::Deserialize;
use serde_json::Value;

/// A story.
#[derive(Clone, Debug, Deserialize)]
pub struct Story {
    /// Name: family, `-v-`, number.
    pub name: String,
    /// The rules as loaded at the start.
    pub rules: String,
    /// The host's interfaces.
    pub interfaces: Vec<Interface>,
    /// The host's routes besides those of its interfaces.
    pub routes: Vec<Route>,
    /// What happens, in order.
    pub steps: Vec<Step>,
    /// How things stand at the end.
    #[serde(default)]
    pub end: Value,
    /// What of the end depends on chance.
    #[serde(default)]
    pub end_fuzzy: Vec<String>,
}

impl Story {
    /// Whether what becomes of its packets depends on chance, so that counters at its end do.
    #[must_use]
    pub fn rests_on_chance(&self) -> bool {
        const OUTCOME: [&str; 6] = ["verdict", "decisions", "counters", "nstates", "reason", "rule"];
        let fuzzy = self.steps.iter().flat_map(|s| &s.fuzzy);
        fuzzy.into_iter().any(|f| OUTCOME.contains(&f.split(['.', '[']).next().unwrap_or_default()))
    }

    /// The family the story belongs to.
    #[must_use]
    pub fn family(&self) -> &str {
        self.name.split_once("-v-").map_or(&self.name, |(f, _)| f)
    }
}

/// An interface of the recorded host.
#[derive(Clone, Debug, Deserialize)]
pub struct Interface {
    /// Name.
    pub name: String,
    /// Index.
    pub index: u16,
    /// `IFF_*`.
    pub flags: u32,
    /// MTU.
    pub mtu: u32,
    /// Groups.
    pub groups: Vec<String>,
    /// Addresses with prefix lengths.
    pub addrs: Vec<String>,
}

/// A route of the recorded host.
#[derive(Clone, Debug, Deserialize)]
pub struct Route {
    /// Destination network.
    pub dst: String,
    /// Next hop.
    pub gw: String,
    /// Interface.
    #[serde(rename = "if")]
    pub iface: String,
}

/// One step. `pkt_hex` makes it a packet, `op` something else.
#[derive(Clone, Debug, Deserialize)]
pub struct Step {
    /// Seconds since the start.
    pub t: f64,
    /// `tick`, `pfctl` or `load`.
    #[serde(default)]
    pub op: Option<String>,
    /// `in`, `out` or `fwd`.
    #[serde(default)]
    pub dir: Option<String>,
    /// Interface.
    #[serde(default, rename = "if")]
    pub iface: Option<String>,
    /// The packet.
    #[serde(default)]
    pub pkt_hex: Option<String>,
    /// Arguments of `pfctl`.
    #[serde(default)]
    pub args: Option<String>,
    /// Rules to load.
    #[serde(default)]
    pub rules: Option<String>,
    /// Anchor to load them into.
    #[serde(default)]
    pub anchor: Option<String>,
    /// Fields that depend on chance.
    #[serde(default)]
    pub fuzzy: Vec<String>,
    /// Everything else, to compare.
    #[serde(flatten)]
    pub rest: serde_json::Map<String, Value>,
}
