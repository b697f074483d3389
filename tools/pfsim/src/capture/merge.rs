//! Several captures of one machine as one: the inside and the outside of a translation, merged by time.
//!
//! Each has the interface it was taken on; records come in the order of their times, equal ones in the order the
//! captures were given. One record of each capture is kept at a time, so memory stays bounded.

use std::io::Read;

use super::{CaptureError, Interface, Reader, Record};

/// Frames in the order of time, with the interfaces they were seen on.
pub trait Frames {
    /// The next frame.
    ///
    /// # Errors
    /// As [`Reader::next_record`].
    fn next_frame(&mut self) -> Result<Option<Record<'_>>, CaptureError>;
    /// The interfaces described so far.
    fn interfaces(&self) -> &[Interface];
    /// Bytes consumed so far.
    fn position(&self) -> u64;
}

impl<R: Read> Frames for Reader<R> {
    fn next_frame(&mut self) -> Result<Option<Record<'_>>, CaptureError> {
        self.next_record()
    }

    fn interfaces(&self) -> &[Interface] {
        self.interfaces()
    }

    fn position(&self) -> u64 {
        self.position()
    }
}

/// A record that waits for its turn.
struct Waiting {
    time: u64,
    offset: u64,
    interface: usize,
    wire_len: u32,
    direction: Option<pfvm::rule::Direction>,
    data: Vec<u8>,
}

/// One of the captures.
struct Input<R> {
    reader: Reader<R>,
    name: Option<String>,
    /// Its interfaces' places among all.
    places: Vec<usize>,
    next: Option<Waiting>,
    begun: bool,
}

/// Captures merged by time.
pub struct Merged<R> {
    inputs: Vec<Input<R>>,
    interfaces: Vec<Interface>,
    current: Option<Waiting>,
    count: u64,
    failed: usize,
}

impl<R: Read> Merged<R> {
    /// Captures, each with the name of the interface it was taken on where that is told.
    #[must_use]
    pub fn new(inputs: Vec<(Option<String>, Reader<R>)>) -> Self {
        let input = |(name, reader)| Input { reader, name, places: Vec::new(), next: None, begun: false };
        let inputs = inputs.into_iter().map(input).collect();
        Self { inputs, interfaces: Vec::new(), current: None, count: 0, failed: 0 }
    }

    /// After an error: which of the captures it was.
    #[must_use]
    pub const fn failed(&self) -> usize {
        self.failed
    }

    /// Reads the next record of one capture.
    fn refill(&mut self, at: usize) -> Result<(), CaptureError> {
        self.failed = at;
        let Some(input) = self.inputs.get_mut(at) else { return Ok(()) };
        input.begun = true;
        let record = input.reader.next_record()?.map(|r| Waiting {
            time: r.time,
            offset: r.offset,
            interface: r.interface,
            wire_len: r.wire_len,
            direction: r.direction,
            data: r.data.to_vec(),
        });
        for interface in input.reader.interfaces().iter().skip(input.places.len()) {
            input.places.push(self.interfaces.len());
            let mut interface = interface.clone();
            if input.name.is_some() {
                interface.name.clone_from(&input.name);
            }
            self.interfaces.push(interface);
        }
        input.next = record.map(|mut r| {
            r.interface = input.places.get(r.interface).copied().unwrap_or(usize::MAX);
            r
        });
        Ok(())
    }
}

impl<R: Read> Frames for Merged<R> {
    fn next_frame(&mut self) -> Result<Option<Record<'_>>, CaptureError> {
        for at in 0..self.inputs.len() {
            if self.inputs.get(at).is_some_and(|i| !i.begun) {
                self.refill(at)?;
            }
        }
        let waiting = self.inputs.iter().enumerate();
        let first = waiting.filter_map(|(at, i)| Some((i.next.as_ref()?.time, at))).min();
        let Some((_, at)) = first else { return Ok(None) };
        self.current = self.inputs.get_mut(at).and_then(|i| i.next.take());
        self.refill(at)?;
        self.count += 1;
        let number = self.count;
        Ok(self.current.as_ref().map(|r| Record {
            number,
            offset: r.offset,
            time: r.time,
            interface: r.interface,
            wire_len: r.wire_len,
            direction: r.direction,
            data: &r.data,
        }))
    }

    fn interfaces(&self) -> &[Interface] {
        &self.interfaces
    }

    fn position(&self) -> u64 {
        self.inputs.iter().map(|i| i.reader.position()).sum()
    }
}
