//! Standing between an adapter and the host: a TAP of the adapter's name above, the adapter under another name below.
//!
//! [`attach`] gives the TAP the adapter's name, hardware address, MTU, addresses, routes, neighbours and settings, so that
//! the host sees what it saw before. The adapter itself is closed to the host: what comes in ends behind the packet
//! socket ([`shut`]), and only frames pfd marks go out. [`detach`] takes it all back. What there is to undo is written
//! down before anything is done ([`record`]); [`recover`] does it when pfd could not.
//!
//! **Invariant:** from the first change until the last one of the way back, no frame goes between adapter and host but
//! through pfd, and each goes once. A pfd that died leaves the adapter shut.
//!
//! What makes frames come twice, each tried between namespaces with `ping`, which says so: the host's stack answers for
//! its addresses on every interface, so it takes what comes in at the renamed adapter, too, unless that ends before the
//! stack; the answer it then sends by the adapter, and all that goes out by another socket, come back to the packet socket
//! as outgoing frames, unless it ignores those (`PACKET_IGNORE_OUTGOING`); and a packet socket made with a protocol takes
//! the frames of all interfaces, the TAP's among them, until it is bound.

pub(crate) mod record;
pub(crate) mod settings;
pub(crate) mod shut;

use std::fs::File;
use std::io;
use std::os::fd::OwnedFd;

use crate::netlink::Route;
use crate::netlink::link::{Link, NOARP, UP};
use crate::netlink::table::{Belongings, about};
use crate::sys;

use record::{Hold, Record, Role};

/// Mark of what pfd sends ("pfd" and a zero); everything else ends at the adapter.
pub(crate) const MARK: u32 = 0x7066_6400;
/// What an adapter's name ends in while it is attached.
const SUFFIX: &str = ".pfd";
/// Longest name of a link.
const NAME: usize = 15;

/// Why an interface could not be attached or given back.
#[derive(Debug, thiserror::Error)]
pub(crate) enum AttachError {
    /// There is no such interface.
    #[error("there is no interface {0}; `ip link` lists them")]
    Unknown(String),
    /// It is not one frames can be taken from.
    #[error("{0} is not an Ethernet interface: only those carry frames pfd can take over")]
    NotEther(String),
    /// It is part of something else.
    #[error(
        "{name} is part of {master}: attach {master} itself, or take {name} out with `ip link set {name} nomaster`"
    )]
    Enslaved {
        /// Its name.
        name: String,
        /// What it is part of.
        master: String,
    },
    /// Something stands on it, which would go past the filter.
    #[error("{upper} stands on {name} and would go past the filter: remove it, attach {name}, then make it again")]
    Beneath {
        /// Its name.
        name: String,
        /// What stands on it.
        upper: String,
    },
    /// It is attached already.
    #[error("{0} is in use by another pfd{1}: end that one first")]
    Busy(String, String),
    /// A pfd died there.
    #[error("{0} is still shut by a pfd that died; `pfd --recover` gives it back")]
    Left(String),
    /// The kernel refused.
    #[error("{doing}: {error}{}", remedy(.error))]
    Kernel {
        /// What was being done.
        doing: String,
        /// What it said.
        error: io::Error,
    },
    /// The record of what to undo is unreadable.
    #[error("{path}: {error}")]
    Record {
        /// Its file.
        path: String,
        /// What is wrong with it.
        error: String,
    },
}

/// What to do about an error, where that is known.
fn remedy(error: &io::Error) -> &'static str {
    match error.raw_os_error() {
        Some(libc::EPERM | libc::EACCES) => " (pfd needs root, or CAP_NET_ADMIN, CAP_NET_RAW and CAP_BPF)",
        Some(libc::ENODEV) => " (is the module loaded? `modprobe tun`)",
        Some(libc::EOPNOTSUPP) => " (the kernel lacks something: tun, sch_clsact and cls_bpf are needed)",
        Some(libc::EBUSY) => " (another program holds it)",
        _ => "",
    }
}

/// Adds what was being done to an error of the kernel.
pub(crate) fn doing<T>(what: impl FnOnce() -> String, done: io::Result<T>) -> Result<T, AttachError> {
    done.map_err(|error| AttachError::Kernel { doing: what(), error })
}

/// An attached adapter.
pub(crate) struct Attached {
    hold: Hold,
    /// The record of what to undo.
    pub(crate) record: Record,
    /// The adapter's packet socket.
    pub(crate) wire: OwnedFd,
    /// The TAP; none in a bridge.
    pub(crate) stack: Option<File>,
    /// Index of the adapter.
    pub(crate) adapter: u32,
    /// Index of the interface the host sees: the TAP, or in a bridge the adapter.
    pub(crate) shown: u32,
    /// Hardware address.
    pub(crate) mac: [u8; 6],
    /// MTU.
    pub(crate) mtu: u32,
}

/// Checks that an adapter can be attached.
fn check(links: &[Link], name: &str) -> Result<Link, AttachError> {
    let link = links.iter().find(|l| l.name == name).ok_or_else(|| AttachError::Unknown(name.to_owned()))?;
    if !link.ether {
        return Err(AttachError::NotEther(name.to_owned()));
    }
    if let Some(master) = link.master {
        let master = links.iter().find(|l| l.index == master).map_or_else(|| master.to_string(), |l| l.name.clone());
        return Err(AttachError::Enslaved { name: name.to_owned(), master });
    }
    if let Some(upper) = links.iter().find(|l| l.lower == Some(link.index)) {
        return Err(AttachError::Beneath { name: name.to_owned(), upper: upper.name.clone() });
    }
    Ok(link.clone())
}

/// Takes hold of an interface. A process that was killed a moment ago may hold it for a moment more.
fn hold(name: &str) -> Result<Hold, AttachError> {
    for _ in 0..20 {
        if let Some(hold) = record::hold(name)? {
            return Ok(hold);
        }
        std::thread::sleep(std::time::Duration::from_millis(50));
    }
    let pid = record::find(name).ok().flatten().map_or_else(String::new, |r| format!(" (process {})", r.pid));
    Err(AttachError::Busy(name.to_owned(), pid))
}

/// Says that an adapter was never open in between.
fn taken_over(name: &str, pid: u32) {
    println!(
        "pfd: {name}: taken over, shut all the while, from a pfd that died (process {pid}); connections begin anew"
    );
}

/// The name of the adapter while it is attached.
fn hidden(links: &[Link], name: &str) -> String {
    let free = |name: &str| !links.iter().any(|l| l.name == name);
    let cut: String = name.chars().take(NAME - SUFFIX.len()).collect();
    let first = format!("{cut}{SUFFIX}");
    if free(&first) {
        return first;
    }
    let numbered = (0..).map(|n: u32| format!("pfd{n}"));
    numbered.into_iter().find(|n| free(n)).unwrap_or(first)
}

/// Attaches an adapter. On failure all is as it was.
pub(crate) fn attach(name: &str, open: bool) -> Result<Attached, AttachError> {
    let mut route = doing(|| "netlink".to_owned(), Route::open())?;
    let hold = hold(name)?;
    if let Some(record) = record::find(name)? {
        return match record.role {
            Role::Attached => take_over(&mut route, record, open, hold),
            Role::Bridged => Err(AttachError::Left(name.to_owned())),
        };
    }
    let links = doing(|| "links".to_owned(), route.links())?;
    let link = check(&links, name)?;
    let belongings = doing(|| format!("addresses and routes of {name}"), route.belongings(link.index))?;
    // Changes nothing, and is refused to whoever may change nothing: before there is anything to undo.
    doing(|| format!("{name}: changing it"), route.set_flags(link.index, 0, 0))?;
    let record = Record {
        role: Role::Attached,
        name: name.to_owned(),
        adapter: link.index,
        hidden: hidden(&links, name),
        up: link.is_up(),
        noarp: link.flags & NOARP != 0,
        own_clsact: false,
        open,
        pid: std::process::id(),
        settings: settings::read(name),
        belongings,
    };
    record.write()?;
    let done = stand_between(&mut route, &link, record.clone(), hold);
    if done.is_err() {
        let current = record::find(name)?.unwrap_or(record);
        if let Err(why) = undo(&mut route, &current, None) {
            eprintln!("pfd: {why}; {name} stays shut: `pfd --recover {name}` tries again");
        }
    }
    done
}

/// All changes of attaching, in an order that leaves no gap.
fn stand_between(route: &mut Route, link: &Link, mut record: Record, hold: Hold) -> Result<Attached, AttachError> {
    let name = record.name.clone();
    let step = |what: &str| format!("{name}: {what}");
    doing(|| step("taking it down"), route.set_flags(link.index, 0, UP))?;
    route.strip(&record.belongings);
    doing(|| step("renaming it"), route.rename(link.index, &record.hidden))?;
    record.own_clsact = doing(|| step("clsact"), shut::close(route, link.index))?;
    record.write()?;
    settings::quiet(&record.hidden);
    doing(|| step("no ARP of its own"), route.set_flags(link.index, NOARP, NOARP))?;
    let tap = doing(|| step("making the TAP"), sys::tap(&name))?;
    doing(|| step("keeping the TAP"), sys::persist(&tap, true))?;
    let shown = doing(|| step("looking for the TAP"), route.link(&name))?;
    let shown = shown.ok_or_else(|| AttachError::Unknown(name.clone()))?;
    settings::write(&name, &record.settings, true);
    doing(|| step("hardware address"), route.set_mac(shown.index, link.mac))?;
    doing(|| step("MTU and queue"), route.dress(shown.index, link))?;
    let wire = doing(|| step("packet socket"), sys::packet_socket(link.index, false, MARK))?;
    if record.up {
        doing(|| step("taking the adapter up"), route.set_flags(link.index, UP, UP))?;
        doing(|| step("taking the TAP up"), route.set_flags(shown.index, UP, UP))?;
        // Older kernels leave it unknown.
        let _refused = route.set_operational(shown.index);
    }
    give(route, &name, &record.belongings, link.index, shown.index);
    settings::write(&name, &record.settings, false);
    Ok(Attached {
        hold,
        record,
        wire,
        stack: Some(tap),
        adapter: link.index,
        shown: shown.index,
        mac: link.mac,
        mtu: link.mtu,
    })
}

/// Takes over where a pfd died: the TAP is still there with all it had.
fn take_over(route: &mut Route, mut record: Record, open: bool, hold: Hold) -> Result<Attached, AttachError> {
    let name = record.name.clone();
    let step = |what: &str| format!("{name}: {what}");
    let links = doing(|| "links".to_owned(), route.links())?;
    let adapter = links.iter().find(|l| l.index == record.adapter && l.name == record.hidden).cloned();
    let shown = links.iter().find(|l| l.name == name && l.kind == "tun").cloned();
    let (Some(adapter), Some(shown)) = (adapter, shown) else { return Err(AttachError::Left(name)) };
    record.own_clsact |= doing(|| step("clsact"), shut::close(route, adapter.index))?;
    taken_over(&name, record.pid);
    (record.pid, record.open) = (std::process::id(), open);
    record.write()?;
    let tap = doing(|| step("taking over the TAP"), sys::tap(&name))?;
    let wire = doing(|| step("packet socket"), sys::packet_socket(adapter.index, false, MARK))?;
    let (mac, mtu) = (shown.mac, shown.mtu);
    Ok(Attached { hold, record, wire, stack: Some(tap), adapter: adapter.index, shown: shown.index, mac, mtu })
}

/// Gives addresses, routes and neighbours, and tells what could not be given.
fn give(route: &mut Route, name: &str, what: &Belongings, from: u32, to: u32) {
    for (message, error) in route.give(what, from, to) {
        eprintln!("pfd: {name}: {} could not be moved: {error}", about(&message));
    }
}

/// Gives an adapter back as it was, with what the interface has gained since.
pub(crate) fn detach(attached: Attached) -> Result<(), AttachError> {
    let mut route = doing(|| "netlink".to_owned(), Route::open())?;
    drop(attached.wire);
    // An adapter that came back in between has another number by now.
    let record = record::find(&attached.record.name)?.unwrap_or(attached.record);
    undo(&mut route, &record, attached.stack)?;
    drop(attached.hold);
    Ok(())
}

/// Takes everything back, whatever of it was done.
fn undo(route: &mut Route, record: &Record, tap: Option<File>) -> Result<(), AttachError> {
    let name = &record.name;
    let step = |what: &str| format!("{name}: {what}");
    let links = doing(|| "links".to_owned(), route.links())?;
    let shown = links.iter().find(|l| l.name == *name && l.kind == "tun" && l.index != record.adapter);
    let mut belongings = record.belongings.clone();
    let (mut was, mut up, mut set) = (record.adapter, record.up, record.settings.clone());
    if let Some(shown) = shown.filter(|_| record.role == Role::Attached) {
        if shown.is_up() {
            belongings = doing(|| step("addresses and routes"), route.belongings(shown.index))?;
            was = shown.index;
        }
        (up, set) = (shown.is_up() || record.up, settings::read(name));
        if let Some(tap) = &tap {
            doing(|| step("giving up the TAP"), sys::persist(tap, false))?;
        }
        drop(tap);
        match route.delete(shown.index) {
            Err(e) if e.raw_os_error() != Some(libc::ENODEV) => doing(|| step("removing the TAP"), Err(e))?,
            _ => {}
        }
    }
    let adapter = links.iter().find(|l| l.index == record.adapter);
    if let Some(adapter) = adapter {
        let index = adapter.index;
        if record.role == Role::Attached {
            doing(|| step("taking the adapter down"), route.set_flags(index, 0, UP))?;
        }
        shut::open(route, index, record.own_clsact);
        let arp = if record.noarp { NOARP } else { 0 };
        doing(|| step("ARP"), route.set_flags(index, arp, NOARP))?;
        if adapter.name != *name {
            doing(|| step("giving its name back"), route.rename(index, name))?;
        }
        settings::write(name, &set, record.role == Role::Attached);
        if record.role == Role::Attached {
            if up {
                doing(|| step("taking it up"), route.set_flags(index, UP, UP))?;
            }
            give(route, name, &belongings, was, index);
            settings::write(name, &set, false);
        }
    }
    record.remove()
}

/// Undoes what a pfd that died left, of one interface or of all, or of those attached to be opened; their names.
pub(crate) fn recover(only: Option<&str>, open: bool) -> Result<Vec<String>, AttachError> {
    let mut route = doing(|| "netlink".to_owned(), Route::open())?;
    let mut done = Vec::new();
    for record in record::all()? {
        if only.is_some_and(|name| name != record.name) || (open && !record.open) {
            continue;
        }
        let hold = hold(&record.name)?;
        undo(&mut route, &record, None)?;
        drop(hold);
        done.push(record.name);
    }
    Ok(done)
}

/// Takes an adapter into a bridge: shut for the host, every frame of its wire taken. One that a pfd that died left shut
/// stays shut.
pub(crate) fn join(name: &str, open: bool) -> Result<Attached, AttachError> {
    let mut route = doing(|| "netlink".to_owned(), Route::open())?;
    let hold = hold(name)?;
    let left = record::find(name)?;
    if left.as_ref().is_some_and(|r| r.role != Role::Bridged) {
        return Err(AttachError::Left(name.to_owned()));
    }
    let links = doing(|| "links".to_owned(), route.links())?;
    let link = check(&links, name)?;
    let fresh = left.is_none();
    if let Some(left) = &left {
        taken_over(name, left.pid);
    }
    let was = left.unwrap_or_else(|| Record {
        role: Role::Bridged,
        name: name.to_owned(),
        adapter: link.index,
        hidden: name.to_owned(),
        up: link.is_up(),
        noarp: link.flags & NOARP != 0,
        own_clsact: false,
        open,
        pid: std::process::id(),
        settings: settings::read(name),
        belongings: Belongings::default(),
    });
    let mut record = Record { adapter: link.index, open, pid: std::process::id(), ..was };
    record.write()?;
    let mut inside = || -> Result<OwnedFd, AttachError> {
        let step = |what: &str| format!("{name}: {what}");
        record.own_clsact |= doing(|| step("clsact"), shut::close(&mut route, link.index))?;
        record.write()?;
        settings::quiet(name);
        doing(|| step("no ARP of its own"), route.set_flags(link.index, NOARP, NOARP))?;
        let wire = doing(|| step("packet socket"), sys::packet_socket(link.index, true, MARK))?;
        doing(|| step("taking it up"), route.set_flags(link.index, UP, UP))?;
        Ok(wire)
    };
    match inside() {
        Ok(wire) => Ok(Attached {
            hold,
            record,
            wire,
            stack: None,
            adapter: link.index,
            shown: link.index,
            mac: link.mac,
            mtu: link.mtu,
        }),
        Err(error) => {
            if fresh {
                undo(&mut route, &record, None)?;
            }
            Err(error)
        }
    }
}

/// Takes an adapter that was gone and is back.
pub(crate) fn back(route: &mut Route, name: &str, link: &Link) -> Result<OwnedFd, AttachError> {
    let step = |what: &str| format!("{name}: {what}");
    let mut record = record::find(name)?.ok_or_else(|| AttachError::Unknown(name.to_owned()))?;
    let attached = record.role == Role::Attached;
    doing(|| step("taking it down"), route.set_flags(link.index, 0, UP))?;
    if attached && link.name != record.hidden {
        doing(|| step("renaming it"), route.rename(link.index, &record.hidden))?;
    }
    record.own_clsact = doing(|| step("clsact"), shut::close(route, link.index))?;
    record.adapter = link.index;
    record.write()?;
    settings::quiet(&record.hidden);
    doing(|| step("no ARP of its own"), route.set_flags(link.index, NOARP, NOARP))?;
    let wire = doing(|| step("packet socket"), sys::packet_socket(link.index, !attached, MARK))?;
    doing(|| step("taking it up"), route.set_flags(link.index, UP, UP))?;
    Ok(wire)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn link(index: u32, name: &str) -> Link {
        Link { index, name: name.to_owned(), ether: true, ..Link::default() }
    }

    #[test]
    fn what_would_leave_a_gap_is_refused() {
        let mut links = vec![link(1, "eth0"), link(2, "eth1"), link(3, "br0")];
        assert_eq!(check(&links, "eth0").unwrap(), links[0]);
        assert!(matches!(check(&links, "eth9"), Err(AttachError::Unknown(_))));
        links[1].master = Some(3);
        let said = check(&links, "eth1").unwrap_err().to_string();
        assert!(said.contains("attach br0 itself"), "{said}");
        links.push(Link { lower: Some(1), ..link(4, "eth0.5") });
        let said = check(&links, "eth0").unwrap_err().to_string();
        assert!(said.starts_with("eth0.5 stands on eth0"), "{said}");
        links[2].ether = false;
        assert!(matches!(check(&links, "br0"), Err(AttachError::NotEther(_))));
    }

    #[test]
    fn hidden_names_are_free_and_fit() {
        let links = vec![link(1, "enp0s31f6abcde"), link(2, "eth0"), link(3, "eth0.pfd")];
        assert_eq!(hidden(&links, "enp0s31f6abcde"), "enp0s31f6ab.pfd");
        assert_eq!(hidden(&links, "eth0"), "pfd0");
    }

    #[test]
    fn errors_tell_what_to_do() {
        let error = io::Error::from_raw_os_error(libc::EPERM);
        let said = doing::<()>(|| "eth0: renaming it".to_owned(), Err(error)).unwrap_err().to_string();
        assert!(said.contains("CAP_NET_ADMIN") && said.starts_with("eth0: renaming it: "), "{said}");
    }
}
