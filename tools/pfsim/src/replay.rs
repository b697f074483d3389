//! A capture through a decider, frame by frame.
//!
//! Holds [`Placement`] (which interface and direction a captured packet has) and [`replay`].
//! Direction comes from the capture where it tells (Linux cooked headers, pcapng flags), else from `--dir`, else a
//! packet with a source address of this machine goes out and all others come in. Ethernet padding is cut off; a
//! packet captured in part is completed with zeros, for its headers are what decides. Checksums are taken as
//! validated: a capture of sent packets shows sums the card has yet to fill in.

use std::collections::{BTreeMap, BTreeSet};
use std::io::Write;
use std::net::IpAddr;

use pfvm::packet::{Checksum, Packet, PktMeta, describe};
use pfvm::rule::{Af, Direction};

use crate::capture::{CaptureError, Frames, Interface, Record, Writer, link};
use crate::decide::{Decider, Ruling, Sighting, Verdict};
use crate::line::ip;
use crate::tally::{Ends, Tally};

/// How captured packets are placed on the machine that the rules are for.
#[derive(Clone, Debug, Default)]
pub struct Placement {
    /// Interface names by index, for captures that tell indexes.
    pub names: BTreeMap<u32, String>,
    /// Addresses of the machine.
    pub own: BTreeSet<IpAddr>,
    /// Names to use instead of those of the capture.
    pub renames: BTreeMap<String, String>,
    /// Interface of all packets, whatever the capture tells.
    pub iface: Option<String>,
    /// Direction of packets whose capture tells none.
    pub dir: Option<Direction>,
}

/// Name of an interface that neither capture nor command tells.
pub const NAMELESS: &str = "?";

impl Placement {
    fn name<'a>(&'a self, interface: &'a Interface, index: Option<u32>) -> &'a str {
        let by_index = || index.and_then(|index| self.names.get(&index)).map(String::as_str);
        let named = || interface.name.as_deref().or_else(by_index);
        let name = self.iface.as_deref().or_else(named).unwrap_or(NAMELESS);
        self.renames.get(name).map_or(name, String::as_str)
    }
}

/// Why a replay stopped before the end.
#[derive(Debug, thiserror::Error)]
pub enum ReplayError {
    /// The capture cannot be read on.
    #[error(transparent)]
    Capture(#[from] CaptureError),
    /// What passed cannot be written.
    #[error("cannot write what passed: {0}")]
    Write(std::io::Error),
}

/// One decided packet, as a listener is told.
#[derive(Debug)]
pub struct Decided<'a> {
    /// Frame number, from 1.
    pub number: u64,
    /// Interface name.
    pub iface: &'a str,
    /// The packet as it came, where its headers can be read.
    pub line: Option<String>,
    /// What became of it.
    pub ruling: Ruling,
}

/// What a replay reports on its way.
pub trait Listener {
    /// The reader has come to this byte.
    fn progress(&mut self, _position: u64) {}
    /// Whether [`Listener::decided`] wants to be called.
    fn wants_packets(&self) -> bool {
        false
    }
    /// A packet was decided.
    fn decided(&mut self, _packet: &Decided<'_>) {}
}

impl Listener for () {}

/// Runs a capture through `decider`; what passes goes to `passed`. The tally holds what was read, also after an error.
pub fn replay<W: Write>(
    reader: &mut dyn Frames,
    placement: &Placement,
    decider: &mut dyn Decider,
    mut passed: Option<&mut Writer<W>>,
    listener: &mut dyn Listener,
) -> (Tally, Result<(), ReplayError>) {
    let mut tally = Tally::default();
    let mut packet = Vec::new();
    let mut frame = Vec::new();
    loop {
        let record = match reader.next_frame() {
            Ok(Some(record)) => record,
            Ok(None) => return (tally, Ok(())),
            Err(error) => return (tally, Err(error.into())),
        };
        let head = (record.number, record.interface, record.time, record.wire_len);
        let direction = record.direction;
        frame.clear();
        frame.extend_from_slice(record.data);
        let record = Record {
            data: &frame,
            offset: 0,
            number: head.0,
            interface: head.1,
            time: head.2,
            wire_len: head.3,
            direction,
        };
        let interfaces = reader.interfaces();
        let outcome = step(&record, interfaces, placement, decider, &mut packet, &mut tally, listener);
        if let (Some(writer), Some(fate)) = (passed.as_deref_mut(), outcome) {
            let (data, comment) = match &fate {
                Fate::Unseen => (frame.as_slice(), String::new()),
                Fate::Passed { start, comment } => {
                    frame.truncate(*start);
                    let room = record_room(head.3, *start).min(packet.len());
                    frame.extend_from_slice(packet.get(..room).unwrap_or_default());
                    (frame.as_slice(), comment.clone())
                }
            };
            let wire_len = u32::try_from(data.len()).unwrap_or(u32::MAX).max(head.3);
            if let Err(error) = writer.packet(interfaces, head.1, head.2, wire_len, data, &comment) {
                return (tally, Err(ReplayError::Write(error)));
            }
        }
        if tally.frames.is_multiple_of(256) {
            listener.progress(reader.position());
        }
    }
}

/// Bytes a rewritten packet may take: what was on the wire and an address family's difference.
fn record_room(wire_len: u32, start: usize) -> usize {
    usize::try_from(wire_len).unwrap_or(usize::MAX).saturating_sub(start).saturating_add(48)
}

/// What of a frame is written.
enum Fate {
    /// The filter never sees it: written as it is.
    Unseen,
    /// The packet passed and begins at `start` of the frame.
    Passed { start: usize, comment: String },
}

fn step(
    record: &Record<'_>,
    interfaces: &[Interface],
    placement: &Placement,
    decider: &mut dyn Decider,
    packet: &mut Vec<u8>,
    tally: &mut Tally,
    listener: &mut dyn Listener,
) -> Option<Fate> {
    tally.frame(record.time);
    let interface = interfaces.get(record.interface)?;
    let network = match link::network(interface.link, record.data) {
        Ok(network) => network,
        Err(other) => {
            *tally.others.entry(other).or_default() += 1;
            return Some(Fate::Unseen);
        }
    };
    let start = network.packet.start;
    tally.cut += u64::from(take_packet(record, &network, packet));
    let ends = addresses(network.af, packet);
    let told = record.direction.or(network.direction).or(placement.dir);
    tally.guessed += u64::from(told.is_none());
    let dir = told.unwrap_or_else(|| match ends {
        Some((src, _)) if placement.own.contains(&src) => Direction::Out,
        _ => Direction::In,
    });
    let name = placement.name(interface, network.ifindex);
    tally.nameless += u64::from(name == NAMELESS);
    if !tally.interfaces.contains_key(name) {
        tally.interfaces.insert(name.to_owned(), [0; 2]);
    }
    if let Some([came, went]) = tally.interfaces.get_mut(name) {
        *(if dir == Direction::In { came } else { went }) += 1;
    }
    let meta = PktMeta { l4: Checksum::Validated, ip: Checksum::Validated, ..PktMeta::default() };
    // As on the wire: the decider may rewrite it.
    let described = describe(&Packet::whole(packet), &meta, network.af, dir, 0).ok();
    let bytes = u64::try_from(packet.len()).unwrap_or(u64::MAX);
    let mut seen = Sighting { packet, meta, af: network.af, dir, forwarded: false, iface: name, time: record.time };
    let ruling = decider.decide(&mut seen);
    let ends = ends.map(|(src, dst)| {
        let port = described.as_ref().map_or(0, |d| d.icmp().map_or(d.dport, |icmp| u16::from(icmp.kind)));
        Ends { src, dst, proto: described.as_ref().map_or(255, |d| d.proto), port }
    });
    tally.ruling(&ruling, bytes, ends);
    if listener.wants_packets() {
        let line = described.as_ref().map(|desc| crate::line::show(desc, name));
        listener.decided(&Decided { number: record.number, iface: name, line, ruling });
    }
    let comment = match ruling.by {
        crate::decide::By::Rule(at) | crate::decide::By::State(Some(at)) => {
            decider.rules().get(at).map(|row| format!("{} {}", row.place(), row.text)).unwrap_or_default()
        }
        _ => String::new(),
    };
    (ruling.verdict == Verdict::Pass).then_some(Fate::Passed { start, comment })
}

/// Copies the IP packet out of a frame: padding off, missing bytes as zeros. Whether bytes were missing.
fn take_packet(record: &Record<'_>, network: &link::Network, packet: &mut Vec<u8>) -> bool {
    let captured = record.data.get(network.packet.clone()).unwrap_or_default();
    packet.clear();
    packet.extend_from_slice(captured);
    let word =
        |at: usize| captured.get(at..).and_then(|b| b.first_chunk()).map(|b| usize::from(u16::from_be_bytes(*b)));
    let said = match network.af {
        Af::Inet => word(2).filter(|said| *said >= 20),
        // A zero length is a jumbo packet's: nothing is known of its end.
        Af::Inet6 => word(4).filter(|said| *said > 0).map(|said| said + 40),
    };
    let on_wire = usize::try_from(record.wire_len).unwrap_or(usize::MAX).saturating_sub(network.packet.start);
    match said {
        Some(said) if said <= captured.len() => {
            packet.truncate(said);
            false
        }
        Some(said) if said <= on_wire && captured.len() >= 20 => {
            packet.resize(said, 0);
            true
        }
        _ => false,
    }
}

/// Addresses of a packet, where its header is whole.
fn addresses(af: Af, packet: &[u8]) -> Option<(IpAddr, IpAddr)> {
    let (at, len) = if af == Af::Inet { (12, 4) } else { (8, 16) };
    let take = |at: usize| {
        let mut addr = pfvm::rule::Addr::default();
        let from = packet.get(at..at + len)?;
        addr.0.iter_mut().zip(from).for_each(|(to, from)| *to = *from);
        Some(ip(af, &addr))
    };
    Some((take(at)?, take(at + len)?))
}

#[cfg(test)]
mod tests;
