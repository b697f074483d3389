//! Calls of Windows: IP Helper's tables, word of their changes, the driver's device.
//!
//! The one place of this crate with `unsafe`. What it gives is plain data of [`crate::net`]; no pointer leaves it.

use std::ffi::c_void;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::os::windows::io::AsRawHandle;
use std::sync::{Condvar, Mutex, PoisonError};
use std::time::Duration;

use windows_sys::Win32::Foundation::{
    ERROR_BUFFER_OVERFLOW, ERROR_INSUFFICIENT_BUFFER, ERROR_NO_DATA, ERROR_NO_SYSTEM_RESOURCES, HANDLE,
};
use windows_sys::Win32::NetworkManagement::IpHelper as ip;
use windows_sys::Win32::Networking::WinSock as sock;
use windows_sys::Win32::System::IO::DeviceIoControl;

use crate::net::{Adapter, Address, Route, local_ports};

/// `IfOperStatusUp`.
const UP: i32 = 1;
/// `IP_ADAPTER_DHCP_ENABLED`.
const DHCP: u32 = 4;
/// Times a table that grows is asked for again.
const TRIES: usize = 8;

/// A number of the system as an error.
fn error(code: u32) -> io::Error {
    io::Error::from_raw_os_error(i32::from_ne_bytes(code.to_ne_bytes()))
}

/// Whether a driver had no room for a request.
#[must_use]
pub fn is_out_of_resources(why: &io::Error) -> bool {
    why.raw_os_error().is_some_and(|code| code.cast_unsigned() == ERROR_NO_SYSTEM_RESOURCES)
}

/// An open device.
#[derive(Debug)]
pub struct Device(std::fs::File);

impl Device {
    /// Opens a device for reading and writing.
    ///
    /// # Errors
    /// The system's: not found, access denied.
    pub fn open(path: &str) -> io::Result<Self> {
        std::fs::OpenOptions::new().read(true).write(true).open(path).map(Self)
    }

    /// One request; how many bytes of `output` were written.
    ///
    /// # Errors
    /// The system's, or the driver's.
    pub fn request(&self, code: u32, input: &[u8], output: &mut [u8]) -> io::Result<usize> {
        let length = |n: usize| u32::try_from(n).map_err(|_| io::Error::from(io::ErrorKind::InvalidInput));
        let (sent, room) = (length(input.len())?, length(output.len())?);
        let mut returned = 0;
        // SAFETY: the handle is open; both buffers are as long as is said and live through the call, which is not
        // overlapped.
        let done = unsafe {
            DeviceIoControl(
                self.0.as_raw_handle(),
                code,
                input.as_ptr().cast(),
                sent,
                output.as_mut_ptr().cast(),
                room,
                &raw mut returned,
                std::ptr::null_mut(),
            )
        };
        if done == 0 {
            return Err(io::Error::last_os_error());
        }
        Ok(usize::try_from(returned).unwrap_or(0).min(output.len()))
    }
}

/// The items of a list of the system whose records name the next.
fn chain<'l, T: 'l>(first: *const T, next: impl Fn(&'l T) -> *const T + 'l) -> impl Iterator<Item = &'l T> + 'l {
    let mut at = first;
    std::iter::from_fn(move || {
        // SAFETY: null, or a record of a buffer the caller of this function holds for 'l.
        let item = unsafe { at.as_ref() }?;
        at = next(item);
        Some(item)
    })
}

/// A wide text that ends with a zero.
fn wide(text: *const u16) -> String {
    if text.is_null() {
        return String::new();
    }
    let mut units = Vec::new();
    for at in 0..1024 {
        // SAFETY: the system's texts end with a zero, before which this stops.
        let unit = unsafe { text.wrapping_add(at).read() };
        if unit == 0 {
            break;
        }
        units.push(unit);
    }
    String::from_utf16_lossy(&units)
}

/// A text of bytes that ends with a zero.
fn narrow(text: *const u8) -> String {
    if text.is_null() {
        return String::new();
    }
    // SAFETY: the system's texts end with a zero.
    unsafe { std::ffi::CStr::from_ptr(text.cast()) }.to_string_lossy().into_owned()
}

/// An address of a `SOCKADDR_IN` or `SOCKADDR_IN6`.
fn address(at: *const sock::SOCKADDR) -> Option<IpAddr> {
    // SAFETY: null, or a socket address of the system, which is at least a family long.
    let family = unsafe { at.as_ref() }?.sa_family;
    match family {
        sock::AF_INET => {
            // SAFETY: the family says it is this record.
            let v4 = unsafe { at.cast::<sock::SOCKADDR_IN>().as_ref() }?;
            // SAFETY: all members of the union are four bytes of plain data.
            let octets = unsafe { v4.sin_addr.S_un.S_addr };
            Some(IpAddr::V4(Ipv4Addr::from(octets.to_ne_bytes())))
        }
        sock::AF_INET6 => {
            // SAFETY: the family says it is this record.
            let v6 = unsafe { at.cast::<sock::SOCKADDR_IN6>().as_ref() }?;
            // SAFETY: all members of the union are sixteen bytes of plain data.
            let octets = unsafe { v6.sin6_addr.u.Byte };
            Some(IpAddr::V6(Ipv6Addr::from(octets)))
        }
        _ => None,
    }
}

/// An address of a `SOCKADDR_INET`.
fn inet(at: &sock::SOCKADDR_INET) -> Option<IpAddr> {
    address(std::ptr::from_ref(at).cast())
}

/// The adapters, in the system's order.
///
/// # Errors
/// The system's.
pub fn adapters() -> io::Result<Vec<Adapter>> {
    let skipped = ip::GAA_FLAG_SKIP_ANYCAST | ip::GAA_FLAG_SKIP_MULTICAST | ip::GAA_FLAG_SKIP_DNS_SERVER;
    let mut room = vec![0_u64; 4096];
    for _ in 0..TRIES {
        let mut size = u32::try_from(room.len() * 8).unwrap_or(u32::MAX);
        let first: *mut ip::IP_ADAPTER_ADDRESSES_LH = room.as_mut_ptr().cast();
        // SAFETY: the buffer is as long as is said, aligned for pointers, and outlives the call.
        let code = unsafe {
            ip::GetAdaptersAddresses(sock::AF_UNSPEC.into(), skipped, std::ptr::null(), first, &raw mut size)
        };
        match code {
            0 => {
                let mut all: Vec<Adapter> = chain(first.cast_const(), |a| a.Next.cast_const()).map(adapter).collect();
                with_links(&mut all);
                return Ok(all);
            }
            ERROR_NO_DATA => return Ok(Vec::new()),
            ERROR_BUFFER_OVERFLOW => room.resize(usize::try_from(size).unwrap_or(0) / 8 + 1024, 0),
            code => return Err(error(code)),
        }
    }
    Err(error(ERROR_BUFFER_OVERFLOW))
}

fn adapter(from: &ip::IP_ADAPTER_ADDRESSES_LH) -> Adapter {
    // SAFETY: both members of the union are plain data, and the call has filled it.
    let named = unsafe { from.Anonymous1.Anonymous };
    // SAFETY: likewise.
    let flags = unsafe { from.Anonymous2.Flags };
    // SAFETY: likewise.
    let luid = unsafe { from.Luid.Value };
    let mac = from.PhysicalAddress.first_chunk().copied().filter(|_| from.PhysicalAddressLength == 6);
    let addresses = chain(from.FirstUnicastAddress.cast_const(), |a| a.Next.cast_const())
        .filter_map(|a| Some(Address { addr: address(a.Address.lpSockaddr)?, prefix: a.OnLinkPrefixLength }));
    Adapter {
        index: if named.IfIndex == 0 { from.Ipv6IfIndex } else { named.IfIndex },
        luid,
        guid: narrow(from.AdapterName),
        alias: wide(from.FriendlyName),
        description: wide(from.Description),
        kind: from.IfType,
        medium: 0,
        access: 0,
        mac,
        mtu: from.Mtu,
        up: from.OperStatus == UP,
        dhcp: flags & DHCP != 0,
        addresses: addresses.collect(),
    }
}

/// Rows of a table IP Helper has allocated, which is given back.
fn table<T, R>(
    code: u32,
    head: *const T,
    rows: impl Fn(&T) -> (u32, *const R),
    mut each: impl FnMut(&R),
) -> io::Result<()> {
    if code != 0 {
        return Err(error(code));
    }
    // SAFETY: null, or the table the call has allocated.
    if let Some(whole) = unsafe { head.as_ref() } {
        let (count, first) = rows(whole);
        for at in 0..usize::try_from(count).unwrap_or(0) {
            // SAFETY: the table holds as many rows as it says, one after the other.
            if let Some(row) = unsafe { first.wrapping_add(at).as_ref() } {
                each(row);
            }
        }
    }
    // SAFETY: allocated by IP Helper, freed once, no row is used any more.
    unsafe { ip::FreeMibTable(head.cast()) };
    Ok(())
}

/// Adds what only the table of interfaces knows; without it types have to do.
fn with_links(adapters: &mut [Adapter]) {
    let mut head = std::ptr::null_mut();
    // SAFETY: gives a table or an error.
    let code = unsafe { ip::GetIfTable2(&raw mut head) };
    let _without = table(
        code,
        head.cast_const(),
        |t: &ip::MIB_IF_TABLE2| (t.NumEntries, t.Table.as_ptr()),
        |row: &ip::MIB_IF_ROW2| {
            if let Some(adapter) = adapters.iter_mut().find(|a| a.index == row.InterfaceIndex) {
                adapter.medium = u32::try_from(row.PhysicalMediumType).unwrap_or(0);
                adapter.access = u32::try_from(row.AccessType).unwrap_or(0);
            }
        },
    );
}

/// Metrics of interfaces: family, index, metric.
fn metrics() -> Vec<(u16, u32, u32)> {
    let mut out = Vec::new();
    let mut head = std::ptr::null_mut();
    // SAFETY: gives a table or an error.
    let code = unsafe { ip::GetIpInterfaceTable(sock::AF_UNSPEC, &raw mut head) };
    let _without = table(
        code,
        head.cast_const(),
        |t: &ip::MIB_IPINTERFACE_TABLE| (t.NumEntries, t.Table.as_ptr()),
        |row: &ip::MIB_IPINTERFACE_ROW| out.push((row.Family, row.InterfaceIndex, row.Metric)),
    );
    out
}

/// The routing table.
///
/// # Errors
/// The system's.
pub fn routes() -> io::Result<Vec<Route>> {
    let metrics = metrics();
    let mut out = Vec::new();
    let mut head = std::ptr::null_mut();
    // SAFETY: gives a table or an error.
    let code = unsafe { ip::GetIpForwardTable2(sock::AF_UNSPEC, &raw mut head) };
    table(
        code,
        head.cast_const(),
        |t: &ip::MIB_IPFORWARD_TABLE2| (t.NumEntries, t.Table.as_ptr()),
        |row: &ip::MIB_IPFORWARD_ROW2| {
            let Some(addr) = inet(&row.DestinationPrefix.Prefix) else { return };
            let family = if addr.is_ipv4() { sock::AF_INET } else { sock::AF_INET6 };
            let own = metrics.iter().find(|m| (m.0, m.1) == (family, row.InterfaceIndex)).map_or(0, |m| m.2);
            let hop = inet(&row.NextHop).filter(|hop| !hop.is_unspecified());
            let metric = row.Metric.saturating_add(own);
            out.push(Route {
                index: row.InterfaceIndex,
                addr,
                prefix: row.DestinationPrefix.PrefixLength,
                hop,
                metric,
            });
        },
    )?;
    Ok(out)
}

/// A table of connections as words.
fn words(mut ask: impl FnMut(*mut c_void, *mut u32) -> u32) -> io::Result<Vec<u32>> {
    let mut room = vec![0_u32; 4096];
    for _ in 0..TRIES {
        let mut size = u32::try_from(room.len() * 4).unwrap_or(u32::MAX);
        match ask(room.as_mut_ptr().cast(), &raw mut size) {
            0 => return Ok(room),
            ERROR_NO_DATA => return Ok(Vec::new()),
            ERROR_INSUFFICIENT_BUFFER => room.resize(usize::try_from(size).unwrap_or(0) / 4 + 1024, 0),
            code => return Err(error(code)),
        }
    }
    Err(error(ERROR_INSUFFICIENT_BUFFER))
}

// Where the port stands in a row, and how long it is, in words.
const TCP4: (usize, usize) = (6, 2);
const TCP6: (usize, usize) = (14, 5);
const UDP4: (usize, usize) = (3, 1);
const UDP6: (usize, usize) = (7, 5);
const _: () = assert!(size_of::<ip::MIB_TCPROW_OWNER_PID>() == TCP4.0 * 4);
const _: () = assert!(size_of::<ip::MIB_TCP6ROW_OWNER_PID>() == TCP6.0 * 4);
const _: () = assert!(size_of::<ip::MIB_UDPROW_OWNER_PID>() == UDP4.0 * 4);
const _: () = assert!(size_of::<ip::MIB_UDP6ROW_OWNER_PID>() == UDP6.0 * 4);
const _: () = assert!(std::mem::offset_of!(ip::MIB_TCPROW_OWNER_PID, dwLocalPort) == TCP4.1 * 4);
const _: () = assert!(std::mem::offset_of!(ip::MIB_TCP6ROW_OWNER_PID, dwLocalPort) == TCP6.1 * 4);
const _: () = assert!(std::mem::offset_of!(ip::MIB_UDPROW_OWNER_PID, dwLocalPort) == UDP4.1 * 4);
const _: () = assert!(std::mem::offset_of!(ip::MIB_UDP6ROW_OWNER_PID, dwLocalPort) == UDP6.1 * 4);

/// Protocols and ports of the host's sockets, sorted.
///
/// # Errors
/// The system's.
pub fn ports_in_use() -> io::Result<Vec<(u8, u16)>> {
    let mut all = Vec::new();
    for (family, tcp, udp) in [(sock::AF_INET, TCP4, UDP4), (sock::AF_INET6, TCP6, UDP6)] {
        let table = words(|at, size| {
            // SAFETY: the buffer is as long as is said and lives through the call.
            unsafe { ip::GetExtendedTcpTable(at, size, 0, family.into(), ip::TCP_TABLE_OWNER_PID_ALL, 0) }
        })?;
        all.extend(local_ports(&table, tcp.0, tcp.1).into_iter().map(|port| (6, port)));
        let table = words(|at, size| {
            // SAFETY: the buffer is as long as is said and lives through the call.
            unsafe { ip::GetExtendedUdpTable(at, size, 0, family.into(), ip::UDP_TABLE_OWNER_PID, 0) }
        })?;
        all.extend(local_ports(&table, udp.0, udp.1).into_iter().map(|port| (17, port)));
    }
    all.sort_unstable();
    all.dedup();
    Ok(all)
}

/// Changes so far, and who waits for the next.
static CHANGES: (Mutex<u64>, Condvar) = (Mutex::new(0), Condvar::new());

/// Something has changed.
fn changed() {
    *CHANGES.0.lock().unwrap_or_else(PoisonError::into_inner) += 1;
    CHANGES.1.notify_all();
}

unsafe extern "system" fn route_changed(_: *const c_void, _: *const ip::MIB_IPFORWARD_ROW2, _: i32) {
    changed();
}

unsafe extern "system" fn iface_changed(_: *const c_void, _: *const ip::MIB_IPINTERFACE_ROW, _: i32) {
    changed();
}

unsafe extern "system" fn address_changed(_: *const c_void, _: *const ip::MIB_UNICASTIPADDRESS_ROW, _: i32) {
    changed();
}

/// Word of changes to interfaces, addresses and routes.
#[derive(Debug)]
pub struct Changes {
    handles: Vec<HANDLE>,
    seen: u64,
}

impl Changes {
    /// Begins to listen.
    ///
    /// # Errors
    /// The system's.
    pub fn listen() -> io::Result<Self> {
        let mut changes = Self { handles: Vec::new(), seen: 0 };
        let mut handle: HANDLE = std::ptr::null_mut();
        // SAFETY: the function lives as long as the program and is given nothing.
        let code = unsafe {
            ip::NotifyIpInterfaceChange(sock::AF_UNSPEC, Some(iface_changed), std::ptr::null(), false, &raw mut handle)
        };
        changes.keep(code, handle)?;
        // SAFETY: likewise.
        let code = unsafe {
            ip::NotifyUnicastIpAddressChange(
                sock::AF_UNSPEC,
                Some(address_changed),
                std::ptr::null(),
                false,
                &raw mut handle,
            )
        };
        changes.keep(code, handle)?;
        // SAFETY: likewise.
        let code = unsafe {
            ip::NotifyRouteChange2(sock::AF_UNSPEC, Some(route_changed), std::ptr::null(), false, &raw mut handle)
        };
        changes.keep(code, handle)?;
        Ok(changes)
    }

    fn keep(&mut self, code: u32, handle: HANDLE) -> io::Result<()> {
        if code != 0 {
            return Err(error(code));
        }
        self.handles.push(handle);
        Ok(())
    }

    /// Waits until something changes, at most so long; whether it did.
    pub fn wait(&mut self, most: Duration) -> bool {
        let now = CHANGES.0.lock().unwrap_or_else(PoisonError::into_inner);
        let (now, _) =
            CHANGES.1.wait_timeout_while(now, most, |n| *n == self.seen).unwrap_or_else(PoisonError::into_inner);
        let new = *now != self.seen;
        self.seen = *now;
        new
    }

    /// Ends a wait, as a change would.
    pub fn wake() {
        changed();
    }
}

impl Drop for Changes {
    fn drop(&mut self) {
        for handle in &self.handles {
            // SAFETY: a handle of one of the three calls, given back once.
            let _gone = unsafe { ip::CancelMibChangeNotify2(*handle) };
        }
    }
}
