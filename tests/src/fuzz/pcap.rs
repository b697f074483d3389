//! Captures: any bytes are read to their end or to one error, and what was read is written and read back.

use pfsim::capture::{Reader, Writer, link};

/// Records looked at, so that a long input costs no more than a short one.
const MOST: usize = 4096;

/// Reads `data` as a capture.
///
/// # Panics
/// When a record breaks a promise of the reader or does not survive being written.
pub fn pcap(data: &[u8]) {
    let Ok(mut reader) = Reader::new(data) else { return };
    let mut frames = Vec::new();
    let mut interfaces = Vec::new();
    while let Ok(Some(record)) = reader.next_record() {
        assert!(record.offset < data.len() as u64, "a record begins in the file");
        let frame = record.data.to_vec();
        let (time, index, wire_len) = (record.time, record.interface, record.wire_len);
        let interface = reader.interfaces().get(index).cloned().expect("a record names a described interface");
        if let Ok(network) = link::network(interface.link, &frame) {
            assert!(network.packet.end == frame.len() && network.packet.start <= frame.len());
        }
        // A new section begins its interfaces anew: keep the first only.
        if interfaces.len() < reader.interfaces().len() {
            interfaces = reader.interfaces().to_vec();
        }
        if interfaces.get(index) == Some(&interface) {
            frames.push((time, index, wire_len, frame));
        }
        if frames.len() == MOST {
            break;
        }
    }
    let mut writer = Writer::new(Vec::new(), reader.format(), interfaces.first()).expect("a vector takes all");
    for (time, index, wire_len, frame) in &frames {
        writer.packet(&interfaces, *index, *time, *wire_len, frame, "").expect("a vector takes all");
    }
    let bytes = writer.finish().expect("a vector takes all");
    let mut again = Reader::new(bytes.as_slice()).expect("our own header reads");
    for (_, index, wire_len, frame) in &frames {
        let record = again.next_record().expect("our own record reads").expect("no record is lost");
        assert_eq!((record.interface, record.wire_len, record.data), (*index, *wire_len, frame.as_slice()));
    }
}
