//! A small file that is there whole or not at all: the last good rules.
//!
//! Written under another name, through to the disk, then renamed over the old one. At `PASSIVE_LEVEL`, with kernel handles:
//! whose thread it is does not matter.

use alloc::vec::Vec;
use core::ffi::c_void;

use pfndis::sys::code::{FAILURE, RESOURCES, SUCCESS, Status};
use wdk_sys::{HANDLE, IO_STATUS_BLOCK, LARGE_INTEGER, OBJECT_ATTRIBUTES, PIO_APC_ROUTINE, UNICODE_STRING};

/// Characters of a path at most.
pub const PATH: usize = 260;
/// Bytes read or written at once.
const PIECE: usize = 1 << 20;
/// Where the last good rules lie when the registry does not say.
const DEFAULT: &str = r"\SystemRoot\System32\drivers\planb.good";
/// What the name of a file that is being written ends in.
const NEW: &str = ".new";

/// `OBJ_CASE_INSENSITIVE | OBJ_KERNEL_HANDLE`.
const KERNEL_HANDLE: u32 = 0x40 | 0x200;
/// `GENERIC_READ | SYNCHRONIZE`.
const READ: u32 = 0x8000_0000 | 0x10_0000;
/// `GENERIC_WRITE | DELETE | SYNCHRONIZE`.
const WRITE: u32 = 0x4000_0000 | 0x1_0000 | 0x10_0000;
/// `FILE_ATTRIBUTE_NORMAL`.
const NORMAL: u32 = 0x80;
/// `FILE_SHARE_READ`.
const SHARE_READ: u32 = 1;
/// `FILE_OPEN`.
const OPEN: u32 = 1;
/// `FILE_OVERWRITE_IF`.
const OVERWRITE: u32 = 5;
/// `FILE_SYNCHRONOUS_IO_NONALERT | FILE_NON_DIRECTORY_FILE`.
const SYNCHRONOUS: u32 = 0x20 | 0x40;
/// `FILE_WRITE_THROUGH`.
const THROUGH: u32 = 2;
/// `FileStandardInformation`.
const STANDARD: i32 = 5;
/// `FileRenameInformation`.
const RENAME: i32 = 10;

/// A path in Windows's characters.
#[derive(Clone, Copy, Debug)]
pub struct Path {
    units: [u16; PATH],
    length: usize,
}

impl Default for Path {
    fn default() -> Self {
        Self::of(DEFAULT.encode_utf16())
    }
}

impl Path {
    /// Of characters; cut to what a path holds.
    pub fn of(text: impl Iterator<Item = u16>) -> Self {
        let mut path = Self { units: [0; PATH], length: 0 };
        for unit in text.take_while(|unit| *unit != 0) {
            path.push(unit);
        }
        path
    }

    fn push(&mut self, unit: u16) {
        // A place is left for the name of what is being written.
        if let Some(place) = self.units.get_mut(self.length) {
            *place = unit;
            self.length += 1;
        }
    }

    /// The name of the file while it is written.
    fn new(&self) -> Self {
        let mut path = *self;
        path.length = path.length.min(PATH - NEW.len());
        NEW.encode_utf16().for_each(|unit| path.push(unit));
        path
    }

    fn unicode(&self) -> UNICODE_STRING {
        let bytes = u16::try_from(self.length * 2).unwrap_or(0);
        UNICODE_STRING { Length: bytes, MaximumLength: bytes, Buffer: self.units.as_ptr().cast_mut() }
    }
}

/// `FILE_RENAME_INFORMATION`, the name behind it in place.
#[repr(C)]
struct Rename {
    replace: u32,
    folder: HANDLE,
    bytes: u32,
    name: [u16; PATH],
}

const _: () = assert!(core::mem::offset_of!(Rename, folder) == 8 && core::mem::offset_of!(Rename, name) == 20);

/// `FILE_STANDARD_INFORMATION`.
#[repr(C)]
#[derive(Default)]
struct Standard {
    allocated: i64,
    end: i64,
    links: u32,
    flags: u32,
}

/// An open file.
struct File(HANDLE);

impl Drop for File {
    fn drop(&mut self) {
        // SAFETY: opened by `File::open`, closed once.
        let _status = unsafe { wdk_sys::ntddk::ZwClose(self.0) };
    }
}

/// `ZwReadFile`, `ZwWriteFile`.
type Transfer = unsafe extern "C" fn(
    HANDLE,
    HANDLE,
    PIO_APC_ROUTINE,
    *mut c_void,
    *mut IO_STATUS_BLOCK,
    *mut c_void,
    u32,
    *mut LARGE_INTEGER,
    *mut u32,
) -> Status;

/// A result of NT's as Rust's.
const fn done(status: Status) -> Result<(), Status> {
    if status == SUCCESS { Ok(()) } else { Err(status) }
}

impl File {
    fn open(path: &Path, access: u32, disposition: u32, options: u32) -> Result<Self, Status> {
        let mut name = path.unicode();
        let mut attributes = OBJECT_ATTRIBUTES {
            Length: u32::try_from(size_of::<OBJECT_ATTRIBUTES>()).unwrap_or(0),
            ObjectName: &raw mut name,
            Attributes: KERNEL_HANDLE,
            ..OBJECT_ATTRIBUTES::default()
        };
        let (mut file, mut block) = (core::ptr::null_mut(), IO_STATUS_BLOCK::default());
        // SAFETY: name, attributes and places live through the call, at PASSIVE_LEVEL.
        let status = unsafe {
            wdk_sys::ntddk::ZwCreateFile(
                &raw mut file,
                access,
                &raw mut attributes,
                &raw mut block,
                core::ptr::null_mut(),
                NORMAL,
                SHARE_READ,
                disposition,
                SYNCHRONOUS | options,
                core::ptr::null_mut(),
                0,
            )
        };
        done(status).map(|()| Self(file))
    }

    fn length(&self) -> Result<usize, Status> {
        let (mut standard, mut block) = (Standard::default(), IO_STATUS_BLOCK::default());
        let size = u32::try_from(size_of::<Standard>()).unwrap_or(0);
        // SAFETY: the record lives through the call and is that long.
        let status = unsafe {
            wdk_sys::ntddk::ZwQueryInformationFile(self.0, &raw mut block, (&raw mut standard).cast(), size, STANDARD)
        };
        done(status)?;
        usize::try_from(standard.end).map_err(|_| FAILURE)
    }

    /// Fills all of it, from where the file stands.
    fn read(&self, all: &mut [u8]) -> Result<(), Status> {
        let mut pieces = all.chunks_mut(PIECE);
        // SAFETY: the piece is that long.
        pieces.try_for_each(|piece| unsafe { self.moved(wdk_sys::ntddk::ZwReadFile, piece.as_mut_ptr(), piece.len()) })
    }

    fn write(&self, all: &[u8]) -> Result<(), Status> {
        let mut pieces = all.chunks(PIECE);
        // SAFETY: the piece is that long, and is only read.
        pieces.try_for_each(|piece| unsafe {
            self.moved(wdk_sys::ntddk::ZwWriteFile, piece.as_ptr().cast_mut(), piece.len())
        })
    }

    /// Reads or writes a piece where the file stands.
    ///
    /// # Safety
    /// There are `length` bytes at `at`, to be written to when they are read.
    unsafe fn moved(&self, how: Transfer, at: *mut u8, length: usize) -> Result<(), Status> {
        let mut block = IO_STATUS_BLOCK::default();
        let (size, none) = (u32::try_from(length).unwrap_or(0), core::ptr::null_mut());
        // SAFETY: the caller's piece; the block lives through the call: the file is synchronous.
        let status = unsafe {
            how(self.0, none, None, none, &raw mut block, at.cast(), size, core::ptr::null_mut(), core::ptr::null_mut())
        };
        done(status)?;
        if usize::try_from(block.Information) == Ok(length) { Ok(()) } else { Err(FAILURE) }
    }

    /// Gives the file another name, over what has it.
    fn rename(&self, to: &Path) -> Result<(), Status> {
        let bytes = u32::try_from(to.length * 2).unwrap_or(0);
        let mut rename = Rename { replace: 1, folder: core::ptr::null_mut(), bytes, name: to.units };
        let mut block = IO_STATUS_BLOCK::default();
        let size = u32::try_from(size_of::<Rename>()).unwrap_or(0);
        // SAFETY: the record lives through the call and is that long.
        let status = unsafe {
            wdk_sys::ntddk::ZwSetInformationFile(self.0, &raw mut block, (&raw mut rename).cast(), size, RENAME)
        };
        done(status)
    }
}

/// Reads a whole file of at most so many bytes.
///
/// # Errors
/// NT's status.
pub fn read(path: &Path, most: usize) -> Result<Vec<u8>, Status> {
    let file = File::open(path, READ, OPEN, 0)?;
    let length = file.length()?;
    if length > most {
        return Err(FAILURE);
    }
    let length = u32::try_from(length).map_err(|_| FAILURE)?;
    let mut all = pfvm::state::pool::filled("a file", length, 0_u8).map_err(|_| RESOURCES)?;
    file.read(&mut all)?;
    Ok(all)
}

/// Writes a whole file: when this succeeds it holds these bytes, else what it held before.
///
/// # Errors
/// NT's status.
pub fn write(path: &Path, bytes: &[u8]) -> Result<(), Status> {
    let file = File::open(&path.new(), WRITE, OVERWRITE, THROUGH)?;
    file.write(bytes)?;
    file.rename(path)
}
