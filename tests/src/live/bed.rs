//! Client, filter and server, and the filter between.
//!
//! ```text
//! client c0 ─ int0 filter ext0 ─ s0 server            client  192.0.2.10     2001:db8:1::10
//!                                                      filter  192.0.2.1      2001:db8:1::1
//!                                                              198.51.100.1   2001:db8:2::1
//!                                                      server  198.51.100.10  2001:db8:2::10
//! ```
//! With a router behind the filter: ext0 198.51.100.1 ─ r0 198.51.100.2, r1 203.0.113.1 ─ s0 203.0.113.10, and the same
//! with 2001:db8:2::/64 and 2001:db8:3::/64.

use std::path::{Path, PathBuf};

use tempfile::TempDir;

use super::space::{Ran, Running, Space, until};
use super::wire::Wire;
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
        if !plan.unfiltered {
            bed.start(plan, rules);
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
        filter.address("ext0", &["198.51.100.1/24", "2001:db8:2::1/64"]);
        if router.is_some() {
            filter.default_routes(&["198.51.100.2", "2001:db8:2::2"]);
        }
        if !plan.hidden {
            router.as_ref().unwrap_or(&server).default_routes(&["198.51.100.1", "2001:db8:2::1"]);
        }
        Self { pfd: None, client, filter, router, server, folder: TempDir::new().expect("a folder") }
    }

    /// Starts the filter on both interfaces; one that runs is ended first.
    ///
    /// # Panics
    /// When it does not come to answer.
    pub fn start(&mut self, plan: Plan, rules: &str) {
        if let Some(mut pfd) = self.pfd.take() {
            assert!(pfd.ends_by("TERM"), "pfd goes on:\n{}", self.log());
        }
        let file = self.write("pf.conf", rules);
        let line = format!(
            "env PFD_RUN={} {} -p {} --rules {} --attach int0 --attach ext0 {} >{} 2>&1",
            self.folder.path().join("run").display(),
            program("pfd").display(),
            self.socket().display(),
            file.display(),
            plan.options,
            self.folder.path().join("pfd.log").display(),
        );
        let mut pfd = self.filter.spawn(&line);
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

    /// What a page server on the server says to the client at an address; nothing when it cannot be had.
    #[must_use]
    pub fn fetch(&self, from: &Space, url: &str) -> Option<String> {
        let ran = from.run(&format!("curl -s -m 4 --connect-timeout 2 '{url}'"));
        ran.ok.then_some(ran.out)
    }
}
