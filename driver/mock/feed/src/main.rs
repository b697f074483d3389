//! Hands prepared requests to devices, one after the other, and keeps what they answer.
//!
//! ```text
//! feed REQUESTS ANSWERS
//! request   device u8 (0 the filter, 1 the mock), code u32, length u32, bytes
//! answer    error u32 (0 for none), length u32, bytes
//! ```
#![cfg_attr(not(windows), allow(dead_code, reason = "runs on Windows alone"))]

use std::io::Write;

/// Bytes an answer has at most.
const MOST: usize = 1 << 20;

#[cfg(windows)]
mod sys {
    //! Devices of Windows.
    use core::ffi::c_void;

    unsafe extern "system" {
        fn CreateFileW(
            name: *const u16,
            access: u32,
            share: u32,
            security: *mut c_void,
            disposition: u32,
            flags: u32,
            template: *mut c_void,
        ) -> *mut c_void;
        fn DeviceIoControl(
            device: *mut c_void,
            code: u32,
            input: *const u8,
            input_length: u32,
            output: *mut u8,
            output_length: u32,
            returned: *mut u32,
            overlapped: *mut c_void,
        ) -> i32;
        fn GetLastError() -> u32;
    }

    /// An open device.
    pub struct Device(*mut c_void);

    impl Device {
        /// Opens it for reading and writing.
        pub fn open(name: &str) -> Result<Self, u32> {
            let name: Vec<u16> = name.encode_utf16().chain([0]).collect();
            // SAFETY: the name ends with a zero and lives through the call.
            let handle = unsafe {
                CreateFileW(name.as_ptr(), 0xC000_0000, 3, core::ptr::null_mut(), 3, 0, core::ptr::null_mut())
            };
            // SAFETY: no arguments.
            if handle.addr() == usize::MAX { Err(unsafe { GetLastError() }) } else { Ok(Self(handle)) }
        }

        /// One request.
        pub fn request(&self, code: u32, input: &[u8], output: &mut [u8]) -> Result<usize, u32> {
            let mut returned = 0;
            // SAFETY: both buffers are as long as is said and live through the call.
            let done = unsafe {
                DeviceIoControl(
                    self.0,
                    code,
                    input.as_ptr(),
                    input.len() as u32,
                    output.as_mut_ptr(),
                    output.len() as u32,
                    &raw mut returned,
                    core::ptr::null_mut(),
                )
            };
            // SAFETY: no arguments.
            if done == 0 { Err(unsafe { GetLastError() }) } else { Ok(returned as usize) }
        }
    }
}

#[cfg(not(windows))]
mod sys {
    //! Nothing: devices are those of Windows.
    pub struct Device;

    impl Device {
        pub fn open(_: &str) -> Result<Self, u32> {
            Err(50)
        }

        pub fn request(&self, _: u32, _: &[u8], _: &mut [u8]) -> Result<usize, u32> {
            Err(50)
        }
    }
}

fn word(bytes: &[u8], at: usize) -> u32 {
    bytes.get(at..at + 4).map_or(0, |b| u32::from_le_bytes([b[0], b[1], b[2], b[3]]))
}

fn main() {
    let names: Vec<String> = std::env::args().collect();
    let requests = std::fs::read(&names[1]).expect("requests");
    let mut answers = std::io::BufWriter::new(std::fs::File::create(&names[2]).expect("answers"));
    let open = |name| {
        sys::Device::open(name).unwrap_or_else(|error| {
            eprintln!("feed: {name}: error {error}");
            std::process::exit(1);
        })
    };
    // The driver's device is there only while it has an adapter, for one of its bindings: it is not kept open.
    let mock = open(r"\\.\PlanBMock");
    let mut output = vec![0; MOST];
    let mut at = 0;
    while at + 9 <= requests.len() {
        let (device, code, length) = (requests[at] as usize, word(&requests, at + 1), word(&requests, at + 5) as usize);
        let bytes = &requests[at + 9..at + 9 + length];
        at += 9 + length;
        // Messages of the filter are answered in 64 KiB at most.
        let room = if device == 0 { 1 << 16 } else { MOST };
        let answer = match device {
            0 => open(r"\\.\PlanB").request(code, bytes, &mut output[..room]),
            _ => mock.request(code, bytes, &mut output[..room]),
        };
        let (error, length) = match answer {
            Ok(length) => (0, length),
            Err(error) => (error, 0),
        };
        answers.write_all(&error.to_le_bytes()).expect("answers");
        answers.write_all(&(length as u32).to_le_bytes()).expect("answers");
        answers.write_all(&output[..length]).expect("answers");
    }
    answers.flush().expect("answers");
}
