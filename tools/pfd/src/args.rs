//! The command line.

use std::path::PathBuf;

use clap::Parser;
use pfc::target::Target;
use pfdriver::edge::policy::Policy;

use crate::start::How;

/// The user-mode packet-filter host.
///
/// pfd holds one filter and answers pfload on a Unix socket. With --attach it stands between adapters and this host: each
/// adapter is renamed, an interface of its name takes its place with all its addresses, routes and neighbours, and every
/// frame goes through the filter. With --bridge it joins two adapters to a filtering bridge that nobody sees. Without
/// either it filters nothing and keeps rules, tables and states for pfload.
///
/// Signals: HUP loads --rules anew (when they do not compile, those in force stay), USR1 shows what moved, TERM and INT
/// give all adapters back and end. A pfd that is killed leaves its adapters shut: start it again with the same --attach to
/// go on, or `pfd --recover` to give them back.
#[derive(Debug, Parser)]
#[command(name = "pfd", version, about, after_long_help = AFTER)]
pub(crate) struct Args {
    /// Socket to listen on for pfload.
    #[arg(short = 'p', long = "socket", value_name = "SOCKET", default_value = "/run/pf/control")]
    pub(crate) socket: PathBuf,
    /// Facts of the host from a file instead of the system.
    #[arg(long, value_name = "FILE", conflicts_with_all = ["attach", "bridge"])]
    pub(crate) host_facts: Option<PathBuf>,
    /// Rules to begin with: a pf.conf, or an image.
    #[arg(long, value_name = "FILE")]
    pub(crate) rules: Option<PathBuf>,
    /// Members of this group may do everything, as root.
    #[arg(long, value_name = "NAME")]
    pub(crate) group: Option<String>,
    /// Members of this group may look.
    #[arg(long, value_name = "NAME")]
    pub(crate) read_group: Option<String>,
    /// Steps a ruleset may take for a packet.
    #[arg(long, value_name = "STEPS", default_value_t = pfc::compile::BUDGET)]
    pub(crate) budget: u32,
    /// Adapter to filter; may be given several times.
    #[arg(long, value_name = "NIC")]
    pub(crate) attach: Vec<String>,
    /// Two adapters to join to a transparent filtering bridge; may be given several times.
    #[arg(long, value_names = ["A", "B"], num_args = 2)]
    pub(crate) bridge: Vec<String>,
    /// Should pfd die, let traffic pass unfiltered instead of stopping it.
    #[arg(long)]
    pub(crate) fail_open: bool,
    /// Give back adapters that a pfd that died left shut, all or those named; with --fail-open those attached so.
    #[arg(long, conflicts_with_all = ["attach", "bridge", "rules"])]
    pub(crate) recover: bool,
    /// Interfaces to recover.
    #[arg(value_name = "NIC", requires = "recover")]
    pub(crate) interfaces: Vec<String>,
    /// Do not let ARP pass.
    #[arg(long)]
    pub(crate) no_arp: bool,
    /// Let IPv6 neighbour and router discovery pass without asking the rules.
    #[arg(long)]
    pub(crate) pass_discovery: bool,
    /// Kinds of frames to let pass besides IP and ARP: numbers (0x88cc) or names (lldp, eapol, pppoe, pppoe-discovery,
    /// macsec, lacp, ptp, wol, mpls, llc for spanning tree and its like, all).
    #[arg(long, value_name = "KINDS", value_delimiter = ',')]
    pub(crate) pass_ethertype: Vec<String>,
    /// Print the manual page.
    #[arg(long, exclusive = true)]
    pub(crate) man: bool,
    /// Waits for the end of pfd (started by --fail-open).
    #[arg(long, hide = true)]
    pub(crate) guard: bool,
}

/// What the manual page says besides.
const AFTER: &str = "\
Examples:
  pfd --rules /etc/pf.conf --attach eth0 --attach eth1    a gateway between two adapters
  pfd --rules /etc/pf.conf --bridge eth0 eth1             a bridge nobody sees
  pfd --recover eth0                                      give back what a killed pfd left shut
  kill -HUP $(pidof pfd)                                  load the rules anew

Files:
  /run/pf/control       socket for pfload
  /run/pfd/NIC.json     what is to be undone for an attached adapter (elsewhere with PFD_RUN set to a folder)
  NIC.pfd               name of the adapter while it is attached: `ip -s link show eth0.pfd`

What pf does and this host does not: divert-to, divert-reply and divert-packet, routing tables, route labels, and passing
by user or group are refused when rules are loaded; queues, no-sync and pflow are accepted with a warning.

Exit status: 0 after an ordinary end, 1 when something failed (standard error says what and what to do), 2 for a wrong
command line.";

/// EtherTypes by name.
const KINDS: [(&str, u16); 8] = [
    ("lldp", 0x88cc),
    ("eapol", 0x888e),
    ("pppoe", 0x8864),
    ("pppoe-discovery", 0x8863),
    ("macsec", 0x88e5),
    ("lacp", 0x8809),
    ("ptp", 0x88f7),
    ("wol", 0x0842),
];
const MPLS: u16 = 0x8847;

impl Args {
    /// How rules are compiled.
    pub(crate) const fn how(&self) -> How {
        let target = if self.host_facts.is_some() { Target::Any } else { Target::Linux };
        How { budget: self.budget, target }
    }

    /// What passes besides IP.
    pub(crate) fn policy(&self) -> Result<Policy, String> {
        let mut policy = Policy::default();
        (policy.arp, policy.discovery) = (!self.no_arp, self.pass_discovery);
        for kind in &self.pass_ethertype {
            match kind.as_str() {
                "all" => policy.all = true,
                "llc" => policy.llc = true,
                name => {
                    let number = ethertype(name)?;
                    if !policy.allow(number) {
                        return Err(format!("--pass-ethertype: more than {} kinds", pfdriver::edge::policy::MOST));
                    }
                }
            }
        }
        Ok(policy)
    }
}

fn ethertype(name: &str) -> Result<u16, String> {
    if name == "mpls" {
        return Ok(MPLS);
    }
    if let Some((_, number)) = KINDS.iter().find(|(n, _)| *n == name) {
        return Ok(*number);
    }
    let number = name.strip_prefix("0x").and_then(|hex| u16::from_str_radix(hex, 16).ok());
    match number {
        Some(0x0800 | 0x86dd) => Err(format!("--pass-ethertype {name}: IP is for the rules to pass")),
        Some(0x8100 | 0x88a8 | 0x9100) => Err(format!("--pass-ethertype {name}: a VLAN tag is looked through")),
        Some(number) if number >= 1536 => Ok(number),
        _ => Err(format!("--pass-ethertype {name}: wanted a name or a number from 0x0600 to 0xffff")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn policy(line: &[&str]) -> Result<Policy, String> {
        let all = ["pfd"].iter().chain(line);
        Args::try_parse_from(all).map_err(|e| e.to_string())?.policy()
    }

    #[test]
    fn kinds_are_read() {
        let p = policy(&["--pass-ethertype", "lldp,0x88b5,llc", "--no-arp"]).unwrap();
        assert!(p.passes(0x88cc) && p.passes(0x88b5) && p.passes(38) && !p.arp && !p.passes(0x8863));
        assert!(policy(&["--pass-ethertype", "all"]).unwrap().passes(0x1234));
        for wrong in ["0x800", "0x86dd", "0x8100", "0x5ff", "ipx", "0xfffff", ""] {
            assert!(policy(&["--pass-ethertype", wrong]).is_err(), "{wrong}");
        }
    }

    #[test]
    fn what_does_not_go_together_is_refused() {
        for line in [
            &["--recover", "--attach", "eth0"][..],
            &["eth0"],
            &["--bridge", "a"],
            &["--attach", "a", "--host-facts", "f"],
        ] {
            assert!(policy(line).is_err(), "{line:?}");
        }
        assert!(policy(&["--bridge", "a", "b", "--bridge", "c", "d"]).is_ok());
        assert!(policy(&["--recover", "eth0", "eth1"]).is_ok());
    }
}
