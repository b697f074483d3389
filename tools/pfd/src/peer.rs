//! Who may ask what: root and members of a group everything, members of another to look, others nothing.

use std::os::unix::net::UnixStream;

use pfdriver::filter::By;
use pfvm::api::Rights;
use rustix::net::sockopt::socket_peercred;

/// A group: its number, and the users its line names.
#[derive(Debug, Default)]
struct Group {
    gid: u32,
    members: Vec<u32>,
}

impl Group {
    /// A group by name.
    fn find(name: &str) -> Result<Self, String> {
        let groups = std::fs::read_to_string("/etc/group").map_err(|e| format!("/etc/group: {e}"))?;
        let users = std::fs::read_to_string("/etc/passwd").unwrap_or_default();
        Self::parse(name, &groups, &users).ok_or_else(|| format!("there is no group {name}"))
    }

    fn parse(name: &str, groups: &str, users: &str) -> Option<Self> {
        let fields = |line: &str| line.split(':').map(str::to_owned).collect::<Vec<_>>();
        let line = groups.lines().map(fields).find(|f| f.first().is_some_and(|n| n == name))?;
        let gid = line.get(2)?.parse().ok()?;
        let names: Vec<&str> = line.get(3).map_or("", String::as_str).split(',').collect();
        let member = |f: Vec<String>| {
            let named = names.contains(&f.first()?.as_str());
            named.then(|| f.get(2)?.parse().ok()).flatten()
        };
        Some(Self { gid, members: users.lines().map(fields).filter_map(member).collect() })
    }

    fn has(&self, uid: u32, gid: u32) -> bool {
        self.gid == gid || self.members.contains(&uid)
    }
}

/// Who may do what.
#[derive(Debug)]
pub(crate) struct Peers {
    write: Option<Group>,
    read: Option<Group>,
}

impl Peers {
    /// Looks the groups up.
    pub(crate) fn new(write: Option<&str>, read: Option<&str>) -> Result<Self, String> {
        Ok(Self { write: write.map(Group::find).transpose()?, read: read.map(Group::find).transpose()? })
    }

    fn rights(&self, uid: u32, gid: u32) -> Rights {
        let own = rustix::process::geteuid().as_raw();
        let has = |g: &Option<Group>| g.as_ref().is_some_and(|g| g.has(uid, gid));
        if uid == 0 || uid == own || has(&self.write) {
            Rights::Write
        } else if has(&self.read) {
            Rights::Read
        } else {
            Rights::None
        }
    }

    /// What the peer of a connection may do, and who it is.
    pub(crate) fn of(&self, stream: &UnixStream) -> (Rights, By) {
        match socket_peercred(stream) {
            Ok(cred) => {
                let (uid, pid) = (cred.uid.as_raw(), cred.pid.as_raw_nonzero().get().cast_unsigned());
                (self.rights(uid, cred.gid.as_raw()), By { uid, pid })
            }
            Err(_) => (Rights::None, By::default()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn groups_decide() {
        let groups = "root:x:0:\npf:x:70:ann,bob\nlook:x:71:eve\n";
        let users = "root:x:0:0::/:\nann:x:1000:1000::/:\neve:x:1002:1002::/:\n";
        let group = |name| Group::parse(name, groups, users);
        let peers = Peers { write: group("pf"), read: group("look") };
        assert_eq!(peers.rights(0, 0), Rights::Write);
        assert_eq!(peers.rights(1000, 1000), Rights::Write, "named in the group's line");
        assert_eq!(peers.rights(5000, 70), Rights::Write, "of the group itself");
        assert_eq!(peers.rights(1002, 1002), Rights::Read);
        assert_eq!(peers.rights(4000, 4000), Rights::None);
        assert!(group("absent").is_none());
    }
}
