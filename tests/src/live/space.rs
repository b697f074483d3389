//! A network namespace and what runs in it.

use std::io::{Read, Write};
use std::net::{TcpListener, UdpSocket};
use std::os::fd::AsFd;
use std::process::{Child, Command, Output, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use crate::daemon::{PATIENCE, until};

/// A namespace; it goes with what runs in it when it is dropped.
#[derive(Debug)]
pub struct Space {
    name: String,
}

/// What a command came to.
#[derive(Clone, Debug)]
pub struct Ran {
    /// Whether it ended with 0.
    pub ok: bool,
    /// Its standard output.
    pub out: String,
    /// Its standard error.
    pub err: String,
}

impl Ran {
    fn of(output: &Output) -> Self {
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        Self { ok: output.status.success(), out: text(&output.stdout), err: text(&output.stderr) }
    }
}

/// A process in a namespace; it is killed when this is dropped.
#[derive(Debug)]
pub struct Running {
    child: Child,
    line: String,
}

impl Space {
    /// A new namespace with its loopback up.
    ///
    /// # Panics
    /// When there can be none: [`possible`](super::possible) has to be asked first.
    #[must_use]
    pub fn new(role: &str) -> Self {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let nr = NEXT.fetch_add(1, Ordering::Relaxed);
        let space = Self { name: format!("pf-live-{}-{nr}-{role}", std::process::id()) };
        let made = Command::new("ip").args(["netns", "add", &space.name]).output().expect("ip runs");
        assert!(made.status.success(), "{}: {:?}", space.name, Ran::of(&made));
        space.ok("ip link set lo up");
        // Addresses count at once, and redirects do not short-cut the filter.
        for (key, value) in [
            ("net/ipv6/conf/all/accept_dad", 0),
            ("net/ipv6/conf/default/accept_dad", 0),
            ("net/ipv4/conf/all/send_redirects", 0),
            ("net/ipv4/conf/default/send_redirects", 0),
            ("net/ipv4/conf/all/rp_filter", 0),
            ("net/ipv4/conf/default/rp_filter", 0),
            // Errors as often as probes ask for them.
            ("net/ipv4/icmp_ratelimit", 0),
            ("net/ipv6/icmp/ratelimit", 0),
        ] {
            space.set(key, value);
        }
        space
    }

    /// Its name, as `ip netns` has it.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// A command line in it, for a shell.
    #[must_use]
    pub fn command(&self, line: &str) -> Command {
        let mut command = Command::new("ip");
        command.args(["netns", "exec", &self.name, "sh", "-c", line]).stdin(Stdio::null());
        command
    }

    /// Runs a command line to its end.
    ///
    /// # Panics
    /// When `ip` cannot be run.
    #[must_use]
    pub fn run(&self, line: &str) -> Ran {
        Ran::of(&self.command(line).output().expect("ip runs"))
    }

    /// Runs a command line that must succeed; its standard output.
    ///
    /// # Panics
    /// When it does not.
    pub fn ok(&self, line: &str) -> String {
        let ran = self.run(line);
        assert!(ran.ok, "in {}: {line}\n{}{}", self.name, ran.out, ran.err);
        ran.out
    }

    /// Starts a command; its output is lost.
    ///
    /// # Panics
    /// When `ip` cannot be run.
    #[must_use]
    pub fn spawn(&self, line: &str) -> Running {
        let mut command = self.command(&format!("exec {line}"));
        let child = command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().expect("ip runs");
        Running { child, line: line.to_owned() }
    }

    /// Starts a command whose output is kept for [`Running::finish`].
    ///
    /// # Panics
    /// When `ip` cannot be run.
    #[must_use]
    pub fn begin(&self, line: &str) -> Running {
        let mut command = self.command(&format!("exec {line}"));
        let child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("ip runs");
        Running { child, line: line.to_owned() }
    }

    /// Starts a server and waits until it listens on a port (`tcp` or `udp`).
    ///
    /// # Panics
    /// When it ends or does not listen in time.
    #[must_use]
    pub fn serve(&self, line: &str, proto: &str, port: u16) -> Running {
        let mut server = self.spawn(line);
        let flag = if proto == "udp" { "-Hlun" } else { "-Hltn" };
        let ask = format!("ss {flag} sport = :{port} | grep -q .");
        until(&format!("{line} listens on {proto} port {port}"), || {
            assert!(server.runs(), "{line} has ended");
            self.run(&ask).ok
        });
        server
    }

    /// Answers every word of four bytes over TCP, and every datagram, with itself, as long as the process runs.
    ///
    /// # Panics
    /// When a port is taken.
    pub fn echo(&self, tcp: u16, udp: u16) {
        let (listener, datagrams) = self.within(|| {
            let datagrams = UdpSocket::bind(("0.0.0.0", udp)).expect("the port is free");
            (TcpListener::bind(("0.0.0.0", tcp)).expect("the port is free"), datagrams)
        });
        std::thread::spawn(move || {
            for mut stream in listener.incoming().map_while(Result::ok) {
                std::thread::spawn(move || {
                    let mut word = [0; 4];
                    while stream.read_exact(&mut word).is_ok() && stream.write_all(&word).is_ok() {}
                });
            }
        });
        std::thread::spawn(move || {
            let mut word = [0; 64];
            while let Ok((len, from)) = datagrams.recv_from(&mut word) {
                let _unreachable = datagrams.send_to(&word[..len], from);
            }
        });
    }

    /// Does something in it: sockets made there stay there.
    ///
    /// # Panics
    /// When the namespace cannot be entered, or the work panics.
    #[must_use]
    pub fn within<T: Send>(&self, work: impl FnOnce() -> T + Send) -> T {
        let file = std::fs::File::open(format!("/run/netns/{}", self.name)).expect("the namespace is there");
        std::thread::scope(|scope| {
            let inside = scope.spawn(|| {
                rustix::thread::move_into_link_name_space(
                    file.as_fd(),
                    Some(rustix::thread::LinkNameSpaceType::Network),
                )
                .expect("the namespace takes threads");
                work()
            });
            inside.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
        })
    }

    /// Sets a kernel setting of the namespace, by its path below `/proc/sys`.
    pub fn set(&self, key: &str, value: u32) {
        self.ok(&format!("echo {value} > /proc/sys/{key}"));
    }

    /// Makes the namespace a router.
    pub fn forward(&self) {
        self.set("net/ipv4/ip_forward", 1);
        self.set("net/ipv6/conf/all/forwarding", 1);
    }

    /// Joins an interface here with one of another namespace.
    pub fn join(&self, here: &str, other: &Space, there: &str) {
        self.ok(&format!("ip link add name {here} type veth peer name {there} netns {}", other.name));
        for (space, iface) in [(self, here), (other, there)] {
            space.ok(&format!("ip link set {iface} up"));
        }
    }

    /// Gives an interface addresses.
    pub fn address(&self, iface: &str, addresses: &[&str]) {
        for address in addresses {
            let nodad = if address.contains(':') { " nodad" } else { "" };
            self.ok(&format!("ip address add {address} dev {iface}{nodad}"));
        }
    }

    /// Gives it default routes.
    pub fn default_routes(&self, gateways: &[&str]) {
        for gateway in gateways {
            let family = if gateway.contains(':') { "-6" } else { "-4" };
            self.ok(&format!("ip {family} route replace default via {gateway}"));
        }
    }

    /// Whether a ping is answered, however long that takes: for answers that must come.
    #[must_use]
    pub fn pings(&self, host: &str) -> bool {
        self.run(&format!("ping -n -c 1 -W 30 {host}")).ok
    }

    /// Whether a ping is not answered within a second: for answers that must not come.
    #[must_use]
    pub fn pings_in_vain(&self, host: &str) -> bool {
        !self.run(&format!("ping -n -c 1 -W 1 {host}")).ok
    }
}

impl Drop for Space {
    fn drop(&mut self) {
        let pids = Command::new("ip").args(["netns", "pids", &self.name]).output();
        let pids = pids.map(|o| String::from_utf8_lossy(&o.stdout).into_owned()).unwrap_or_default();
        for pid in pids.split_whitespace() {
            let _ = Command::new("kill").args(["-KILL", pid]).stderr(Stdio::null()).status();
        }
        let _ = Command::new("ip").args(["netns", "del", &self.name]).stderr(Stdio::null()).status();
    }
}

impl Running {
    /// Its process.
    #[must_use]
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Whether it has not ended.
    pub fn runs(&mut self) -> bool {
        matches!(self.child.try_wait(), Ok(None))
    }

    /// Waits for its end, when [`Space::begin`] began it.
    ///
    /// # Panics
    /// When it cannot be waited for.
    #[must_use]
    pub fn finish(mut self) -> Ran {
        let (mut out, mut err) = (String::new(), String::new());
        if let Some(mut stream) = self.child.stdout.take() {
            stream.read_to_string(&mut out).unwrap_or_else(|e| panic!("{}: {e}", self.line));
        }
        if let Some(mut stream) = self.child.stderr.take() {
            stream.read_to_string(&mut err).unwrap_or_else(|e| panic!("{}: {e}", self.line));
        }
        let ok = self.child.wait().is_ok_and(|status| status.success());
        Ran { ok, out, err }
    }

    /// Sends it a signal by name.
    pub fn signal(&self, name: &str) {
        let _ = Command::new("kill").args([format!("-{name}"), self.pid().to_string()]).status();
    }

    /// Ends it with a signal and waits; whether it went in time.
    #[must_use]
    pub fn ends_by(&mut self, name: &str) -> bool {
        self.signal(name);
        let end = Instant::now() + PATIENCE;
        while self.runs() {
            if Instant::now() > end {
                return false;
            }
            std::thread::sleep(Duration::from_millis(10));
        }
        true
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
