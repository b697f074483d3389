//! Names of a state's progress.

/// TCP's (`TCPS_*`, `PF_TCPS_PROXY_*`).
const TCP: [&str; 13] = [
    "CLOSED",
    "LISTEN",
    "SYN_SENT",
    "SYN_RCVD",
    "ESTABLISHED",
    "CLOSE_WAIT",
    "FIN_WAIT_1",
    "CLOSING",
    "LAST_ACK",
    "FIN_WAIT_2",
    "TIME_WAIT",
    "PROXY_SRC",
    "PROXY_DST",
];
/// Those of other protocols.
const OTHERS: [&str; 3] = ["NO_TRAFFIC", "SINGLE", "MULTIPLE"];

/// The name of one side's progress.
pub(crate) fn progress(proto: u8, state: u8) -> &'static str {
    let names: &[&str] = if proto == 6 { &TCP } else { &OTHERS };
    names.get(usize::from(state)).copied().unwrap_or("?")
}
