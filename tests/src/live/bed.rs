//! Client, filter and server, and the filter between.
//!
//! ```text
//! client c0 ─ int0 filter ext0 ─ s0 server            client  192.0.2.10     2001:db8:1::10
//!                                                      filter  192.0.2.1      2001:db8:1::1
//!                                                              198.51.100.1   2001:db8:2::1
//!                                                      server  198.51.100.10  2001:db8:2::10
//! ```
//! A bridge has no addresses; the server is on the client's network then, as 192.0.2.20 and 2001:db8:1::20.
//!
//! With a router behind the filter: ext0 198.51.100.1 ─ r0 198.51.100.2, r1 203.0.113.1 ─ s0 203.0.113.10, and the same
//! with 2001:db8:2::/64 and 2001:db8:3::/64.

use std::path::{Path, PathBuf};

use tempfile::TempDir;

use super::space::{Ran, Running, Space};
use super::wire::Wire;
use crate::daemon::until;
use crate::program;

/// How a bed is built.
#[derive(Clone, Copy, Debug, Default)]
pub struct Plan {
    /// A router stands between filter and server.
    pub router: bool,
    /// The kernel forwards, nothing filters: for the bed's own test and as a measure.
    pub unfiltered: bool,
    /// Server and router know no way back to the client's network: what is not translated is not answered.
    pub hidden: bool,
    /// The filter bridges its two interfaces.
    pub bridge: bool,
    /// Options of the filter's command.
    pub options: &'static str,
}

/// A test bed.
#[derive(Debug)]
pub struct Bed {
    /// `pfd`, where it runs. Ends first.
    pub pfd: Option<Running>,
    /// Who asks.
    pub client: Space,
    /// Where the filter runs: `int0` and `ext0`.
    pub filter: Space,
    /// The router behind it: `r0` and `r1`.
    pub router: Option<Space>,
    /// Who answers.
    pub server: Space,
    plan: Plan,
    folder: TempDir,
}

impl Bed {
    /// A bed whose filter has these rules; nothing where beds cannot be built.
    #[must_use]
    pub fn new(rules: &str) -> Option<Self> {
        Self::planned(Plan::default(), rules)
    }

    /// A bed of another kind.
    #[must_use]
    pub fn planned(plan: Plan, rules: &str) -> Option<Self> {
        if !super::possible() {
            return None;
        }
        let mut bed = Self::built(plan);
        let _file = bed.write("pf.conf", rules);
        if !plan.unfiltered {
            bed.start();
        }
        Some(bed)
    }

    fn built(plan: Plan) -> Self {
        let (client, filter, server) = (Space::new("c"), Space::new("f"), Space::new("s"));
        let router = plan.router.then(|| Space::new("r"));
        client.join("c0", &filter, "int0");
        client.address("c0", &["192.0.2.10/24", "2001:db8:1::10/64"]);
        filter.address("int0", &["192.0.2.1/24", "2001:db8:1::1/64"]);
        client.default_routes(&["192.0.2.1", "2001:db8:1::1"]);
        filter.forward();
        match &router {
            None if plan.bridge => {
                filter.join("ext0", &server, "s0");
                server.address("s0", &["192.0.2.20/24", "2001:db8:1::20/64"]);
            }
            None => {
                filter.join("ext0", &server, "s0");
                server.address("s0", &["198.51.100.10/24", "2001:db8:2::10/64"]);
            }
            Some(router) => {
                filter.join("ext0", router, "r0");
                router.join("r1", &server, "s0");
                router.address("r0", &["198.51.100.2/24", "2001:db8:2::2/64"]);
                router.address("r1", &["203.0.113.1/24", "2001:db8:3::1/64"]);
                router.forward();
                server.address("s0", &["203.0.113.10/24", "2001:db8:3::10/64"]);
                server.default_routes(&["203.0.113.1", "2001:db8:3::1"]);
            }
        }
        if !plan.bridge {
            filter.address("ext0", &["198.51.100.1/24", "2001:db8:2::1/64"]);
        }
        if router.is_some() {
            filter.default_routes(&["198.51.100.2", "2001:db8:2::2"]);
        }
        if !plan.hidden && !plan.bridge {
            router.as_ref().unwrap_or(&server).default_routes(&["198.51.100.1", "2001:db8:2::1"]);
        }
        Self { pfd: None, client, filter, router, server, plan, folder: TempDir::new().expect("a folder") }
    }

    /// The command `pfd` with records of its own.
    #[must_use]
    pub fn pfd_line(&self, words: &str) -> String {
        format!("env PFD_RUN={} {} {words}", self.folder.path().join("run").display(), program("pfd").display())
    }

    /// Starts the filter anew with other rules and options; one that runs is ended first.
    ///
    /// # Panics
    /// When it does not end, or does not come to answer.
    pub fn restart(&mut self, plan: Plan, rules: &str) {
        if let Some(mut pfd) = self.pfd.take() {
            assert!(pfd.ends_by("TERM"), "pfd goes on:\n{}", self.log());
        }
        self.plan = plan;
        let _file = self.write("pf.conf", rules);
        self.start();
    }

    /// Starts the filter on both interfaces, with the rules in `pf.conf`; its log goes on.
    ///
    /// # Panics
    /// When it ends, or takes no requests in time.
    pub fn start(&mut self) {
        let between = if self.plan.bridge { "--bridge int0 ext0" } else { "--attach int0 --attach ext0" };
        let words = format!(
            "-p {} --rules {} {between} {} >>{} 2>&1",
            self.socket().display(),
            self.folder.path().join("pf.conf").display(),
            self.plan.options,
            self.folder.path().join("pfd.log").display(),
        );
        let mut pfd = self.filter.spawn(&self.pfd_line(&words));
        until("pfd takes requests", || {
            assert!(pfd.runs(), "pfd has ended:\n{}", self.log());
            self.pfctl("-s info").ok
        });
        self.pfd = Some(pfd);
    }

    /// What pfd has said.
    #[must_use]
    pub fn log(&self) -> String {
        std::fs::read_to_string(self.folder.path().join("pfd.log")).unwrap_or_default()
    }

    /// Frames received, passed, dropped, held and generated, as pfd counts them now.
    ///
    /// # Panics
    /// When it does not say.
    #[must_use]
    pub fn frames(&self) -> [u64; 5] {
        const LINE: &str = "pfd: frames: received ";
        let said = || self.log().matches(LINE).count();
        let before = said();
        self.pfd.as_ref().expect("the filter runs").signal("USR1");
        until("pfd tells what moved", || said() > before && self.log().ends_with('\n'));
        let log = self.log();
        let line = log.lines().rev().find(|l| l.starts_with(LINE)).unwrap_or_default();
        let after = |word: &str| {
            let mut words = line.split_whitespace().skip_while(|w| *w != word);
            words.nth(1).and_then(|n| n.trim_end_matches([';', ',']).parse().ok()).unwrap_or(0)
        };
        ["received", "passed", "dropped", "held", "generated"].map(after)
    }

    /// Its control socket.
    #[must_use]
    pub fn socket(&self) -> PathBuf {
        self.folder.path().join("pf.sock")
    }

    /// The bed's own folder.
    #[must_use]
    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// Writes a file into the bed's folder.
    ///
    /// # Panics
    /// When it cannot be written.
    #[must_use]
    pub fn write(&self, name: &str, text: &str) -> PathBuf {
        let path = self.folder.path().join(name);
        std::fs::write(&path, text).expect("the folder takes files");
        path
    }

    /// Runs `pfload` against the filter, with the words of pfctl.
    #[must_use]
    pub fn pfctl(&self, words: &str) -> Ran {
        let line = format!("{} -p {} {words}", program("pfload").display(), self.socket().display());
        self.filter.run(&line)
    }

    /// The same where it must succeed; its standard output.
    ///
    /// # Panics
    /// When it does not.
    pub fn control(&self, words: &str) -> String {
        let ran = self.pfctl(words);
        assert!(ran.ok, "pfload {words}\n{}{}\n{}", ran.out, ran.err, self.log());
        ran.out
    }

    /// Loads other rules.
    ///
    /// # Panics
    /// When they are refused.
    pub fn load(&self, rules: &str) {
        let file = self.write("next.conf", rules);
        self.control(&format!("-f {}", file.display()));
    }

    /// The client's end, and the filter's end towards it.
    #[must_use]
    pub fn inside(&self) -> (Wire<'_>, Wire<'_>) {
        (Wire::new(&self.client, "c0"), Wire::new(&self.filter, "int0"))
    }

    /// The server's end, and the filter's end towards it.
    #[must_use]
    pub fn outside(&self) -> (Wire<'_>, Wire<'_>) {
        (Wire::new(&self.server, "s0"), Wire::new(&self.filter, "ext0"))
    }

    /// What a page server says at an address, however long it takes: for pages that must come. Nothing when it is
    /// refused.
    #[must_use]
    pub fn fetch(&self, from: &Space, url: &str) -> Option<String> {
        let ran = from.run(&format!("curl -s -m 50 '{url}'"));
        ran.ok.then_some(ran.out)
    }

    /// Whether a page cannot be had within two seconds: for pages that must not come.
    #[must_use]
    pub fn fetches_in_vain(&self, from: &Space, url: &str) -> bool {
        !from.run(&format!("curl -s -m 2 '{url}'")).ok
    }
}
