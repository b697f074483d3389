//! What must hold of an INF, since InfVerif runs on Windows alone.
//!
//! Of every INF: the version section, models for both processors, sections that are named exist and those that exist are
//! named, files have a source and a destination, the service is a kernel driver of a file that is copied, strings are
//! those that are used. By class: a lightweight filter (`NetService`), and the two of an intermediate driver, its protocol
//! (`NetTrans`) and its miniport (`Net`).
//!
//! Source: Microsoft's "Installation Requirements for Network Filter Drivers", "… for Network MUX Intermediate Drivers".

use std::path::PathBuf;

use super::run::{Failure, read_text};

/// Class, its GUID, and what else must hold of it.
const CLASSES: &[(&str, &str, Rule)] = &[
    ("NetService", "{4D36E974-E325-11CE-BFC1-08002BE10318}", filter),
    ("NetTrans", "{4D36E975-E325-11CE-BFC1-08002BE10318}", protocol),
    ("Net", "{4D36E972-E325-11CE-BFC1-08002BE10318}", miniport),
];

/// What must hold of an INF of a class.
type Rule = fn(&Inf) -> Result<(), Failure>;

/// Directives that name sections: each word of the value is one.
const NAMING: &[&str] = &["addreg", "delreg", "copyfiles", "delfiles", "addservice", "include", "needs", "addproperty"];

/// An INF: sections with their lines; names in lower case, comments off, space made even.
struct Inf {
    sections: Vec<(String, Vec<String>)>,
}

impl Inf {
    fn read(text: &str) -> Self {
        let mut sections: Vec<(String, Vec<String>)> = Vec::new();
        for line in text.lines() {
            let line = uncommented(line).trim();
            if let Some(name) = line.strip_prefix('[').and_then(|l| l.strip_suffix(']')) {
                sections.push((name.to_lowercase(), Vec::new()));
            } else if let (false, Some((_, lines))) = (line.is_empty(), sections.last_mut()) {
                lines.push(line.split_whitespace().collect::<Vec<_>>().join(" "));
            }
        }
        Self { sections }
    }

    fn has(&self, section: &str) -> bool {
        self.sections.iter().any(|s| s.0 == section.to_lowercase())
    }

    fn lines(&self, section: &str) -> impl Iterator<Item = &str> {
        let section = section.to_lowercase();
        self.sections.iter().filter(move |s| s.0 == section).flat_map(|s| s.1.iter().map(String::as_str))
    }

    /// Keys and values of a section.
    fn pairs(&self, section: &str) -> impl Iterator<Item = (&str, &str)> {
        self.lines(section).filter_map(|l| l.split_once('=').map(|(k, v)| (k.trim(), v.trim())))
    }

    fn value(&self, section: &str, key: &str) -> Result<&str, Failure> {
        let found = self.pairs(section).find(|(k, _)| k.eq_ignore_ascii_case(key));
        found.map(|(_, v)| v).ok_or_else(|| format!("[{section}] has no {key}"))
    }

    fn says(&self, section: &str, key: &str, wanted: &str) -> Result<(), Failure> {
        let found = self.value(section, key)?;
        let same = found.eq_ignore_ascii_case(wanted);
        if same { Ok(()) } else { Err(format!("[{section}] {key} is {found}, wanted {wanted}")) }
    }

    /// The sections that install something: what the models name, each once, in lower case.
    fn installs(&self) -> Vec<String> {
        let models = self.sections.iter().filter(|s| self.is_models(&s.0)).flat_map(|s| &s.1);
        let mut all: Vec<String> =
            models.filter_map(|l| Some(l.split_once('=')?.1.split(',').next()?.trim().to_lowercase())).collect();
        all.sort();
        all.dedup();
        all
    }

    /// Sections of models as `[Manufacturer]` names them, with their decorations.
    fn models(&self) -> Vec<String> {
        let mut all = Vec::new();
        for (_, value) in self.pairs("manufacturer") {
            let mut words = value.split(',').map(|w| w.trim().to_lowercase());
            let name = words.next().unwrap_or_default();
            all.extend(words.map(|decoration| format!("{name}.{decoration}")));
        }
        all
    }

    fn is_models(&self, section: &str) -> bool {
        self.models().iter().any(|m| m == section)
    }

    /// Registry values the installation sets: key, name, value without its quotes.
    fn registry(&self) -> Vec<(String, String, String)> {
        let mut all = Vec::new();
        for install in self.installs() {
            let lists = self.pairs(&install).filter(|(k, _)| k.eq_ignore_ascii_case("AddReg"));
            for section in lists.flat_map(|(_, v)| v.split(',')) {
                for line in self.lines(section.trim()) {
                    let mut fields = line.splitn(5, ',').map(str::trim).skip(1);
                    let mut next = || fields.next().unwrap_or_default().to_owned();
                    let (key, name, _, value) = (next(), next(), next(), next());
                    all.push((key, name, value.trim_matches('"').to_owned()));
                }
            }
        }
        all
    }

    /// The value of `HKR, key, name`.
    fn set(&self, key: &str, name: &str) -> Result<String, Failure> {
        let all = self.registry();
        let found = all.iter().find(|(k, n, _)| k.eq_ignore_ascii_case(key) && n.eq_ignore_ascii_case(name));
        found.map(|(_, _, v)| v.clone()).ok_or_else(|| format!("nothing sets HKR, {key}, {name}"))
    }

    fn set_to(&self, key: &str, name: &str, wanted: &[&str]) -> Result<(), Failure> {
        let found = self.set(key, name)?;
        let good = wanted.iter().any(|w| w.eq_ignore_ascii_case(&found));
        if good { Ok(()) } else { Err(format!("HKR, {key}, {name} is {found}, wanted {}", wanted.join(" or "))) }
    }

    /// Characteristics of all that is installed.
    fn characteristics(&self) -> Result<Vec<u32>, Failure> {
        let number = |text: &str| u32::from_str_radix(text.trim_start_matches("0x"), 16).ok();
        let each = |install: &String| {
            let text = self.value(install, "Characteristics")?;
            number(text).ok_or_else(|| format!("[{install}] Characteristics is {text}, wanted a number like 0x80"))
        };
        self.installs().iter().map(each).collect()
    }

    /// Services that are added: name, section, in lower case.
    fn services(&self) -> Vec<(String, String)> {
        let of = |install: &String| format!("{install}.services");
        let sections: Vec<String> = self.installs().iter().map(of).collect();
        let lines = sections.iter().flat_map(|s| self.pairs(s)).filter(|(k, _)| k.eq_ignore_ascii_case("AddService"));
        let word = |v: &str, n: usize| v.split(',').nth(n).unwrap_or_default().trim().to_lowercase();
        lines.map(|(_, v)| (word(v, 0), word(v, 2))).collect()
    }
}

/// A line without its comment; a semicolon between quotes is none.
fn uncommented(line: &str) -> &str {
    let mut quoted = false;
    for (at, c) in line.char_indices() {
        match c {
            '"' => quoted = !quoted,
            ';' if !quoted => return line.get(..at).unwrap_or(line),
            _ => {}
        }
    }
    line
}

/// A lightweight filter.
fn filter(inf: &Inf) -> Result<(), Failure> {
    if inf.characteristics()?.iter().any(|c| *c != 0x4_0000) {
        return Err("Characteristics of a lightweight filter are 0x40000".to_owned());
    }
    for install in inf.installs() {
        let id = inf.value(&install, "NetCfgInstanceId")?;
        guid(id.trim_matches('"'))?;
    }
    let classes = ["scheduler", "encryption", "compression", "vpn", "loadbalance", "failover", "diagnostic", "custom"];
    inf.set_to("Ndi", "FilterClass", &classes)?;
    inf.set_to("Ndi", "FilterType", &["2"])?;
    inf.set_to("Ndi", "FilterRunType", &["1", "2"])?;
    inf.set_to("Ndi\\Interfaces", "UpperRange", &["noupper"])?;
    inf.set_to("Ndi\\Interfaces", "LowerRange", &["nolower"])?;
    // The filter reads Ethernet frames; wireless cards have them above their own filter.
    inf.set_to("Ndi\\Interfaces", "FilterMediaTypes", &["ethernet"])?;
    served(inf, SYSTEM)?;
    removed(inf)?;
    inf.set_to("Ndi", "CoServices", &[&inf.set("Ndi", "Service")?])
}

/// The protocol of an intermediate driver.
fn protocol(inf: &Inf) -> Result<(), Failure> {
    if inf.characteristics()?.iter().any(|c| c & 0x400 != 0) {
        return Err("NCF_FILTER (0x400) is of NDIS 5".to_owned());
    }
    inf.set_to("Ndi\\Interfaces", "UpperRange", &["noupper"])?;
    // What adapters say of their upper edge; both are in use for Ethernet.
    inf.set_to("Ndi\\Interfaces", "LowerRange", &["ndis5", "ethernet"])?;
    guid(&inf.set("Ndi", "ClsID")?)?;
    let dll = inf.set("Ndi", "ComponentDll")?;
    if !inf.pairs("SourceDisksFiles").any(|(file, _)| file.eq_ignore_ascii_case(&dll)) {
        return Err(format!("the notify object {dll} has no source"));
    }
    // System32; drivers lie elsewhere.
    let copied =
        |section: &str| inf.lines(section).any(|l| l.split(',').next().is_some_and(|f| f.eq_ignore_ascii_case(&dll)));
    if !inf.pairs("DestinationDirs").any(|(section, place)| copied(section) && place == "11") {
        return Err(format!("the notify object {dll} is not copied to System32 (11)"));
    }
    for install in inf.installs() {
        let other = inf.value(&install, "CopyInf")?;
        if !other.ends_with(".inf") {
            return Err(format!("[{install}] CopyInf is {other}"));
        }
    }
    served(inf, DEMAND)?;
    removed(inf)
}

/// The miniport of an intermediate driver.
fn miniport(inf: &Inf) -> Result<(), Failure> {
    for (bit, name) in [(0x1, "NCF_VIRTUAL"), (0x8, "NCF_HIDDEN"), (0x20, "NCF_NOT_USER_REMOVABLE")] {
        if inf.characteristics()?.iter().any(|c| c & bit == 0) {
            return Err(format!("Characteristics lack {name} ({bit:#x})"));
        }
    }
    for install in inf.installs() {
        // IF_TYPE_ETHERNET_CSMACD, NdisMedium802_3, NdisPhysicalMediumUnspecified.
        for (key, wanted) in [("*IfType", "6"), ("*MediaType", "0"), ("*PhysicalMediaType", "0")] {
            inf.says(&install, key, wanted)?;
        }
        // The device's own service: SPSVCINST_ASSOCSERVICE.
        let added = inf.value(&format!("{install}.Services"), "AddService")?;
        if added.split(',').nth(1).map(str::trim) != Some("2") {
            return Err(format!("AddService is {added}, wanted 2 as its flags"));
        }
    }
    // Devices are the notify object's to make, nobody else's to choose.
    inf.value("ControlFlags", "ExcludeFromSelect")?;
    inf.set_to("Ndi\\Interfaces", "UpperRange", &["ndis5"])?;
    inf.set_to("Ndi\\Interfaces", "LowerRange", &["ethernet", "nolower"])?;
    served(inf, DEMAND)
}

/// `SERVICE_SYSTEM_START`, of a filter: it is there before protocols bind.
const SYSTEM: &str = "1";
/// `SERVICE_DEMAND_START`, of what its devices start.
const DEMAND: &str = "3";

/// The service that is named is one that is added, and starts as it should.
fn served(inf: &Inf, start: &str) -> Result<(), Failure> {
    let name = inf.set("Ndi", "Service")?;
    let services = inf.services();
    let Some((_, section)) = services.iter().find(|(n, _)| n.eq_ignore_ascii_case(&name)) else {
        return Err(format!("HKR, Ndi, Service is {name}, which is not added"));
    };
    inf.says(section, "StartType", start)?;
    inf.says(section, "ErrorControl", "1")
}

/// Services that are added are deleted again.
fn removed(inf: &Inf) -> Result<(), Failure> {
    for install in inf.installs() {
        let deleted = inf.value(&format!("{install}.Remove.Services"), "DelService")?.to_lowercase();
        for (name, _) in inf.services() {
            if deleted.split(',').next() != Some(name.as_str()) {
                return Err(format!("service {name} is added and {deleted} deleted"));
            }
        }
    }
    Ok(())
}

/// `{8-4-4-4-12}`.
fn guid(text: &str) -> Result<(), Failure> {
    let inner = text.strip_prefix('{').and_then(|t| t.strip_suffix('}')).unwrap_or_default();
    let lengths: Vec<usize> = inner.split('-').map(str::len).collect();
    let good = lengths == [8, 4, 4, 4, 12] && inner.bytes().all(|b| b == b'-' || b.is_ascii_hexdigit());
    if good { Ok(()) } else { Err(format!("{text} is no GUID")) }
}

/// The version section, and the class.
fn version(inf: &Inf) -> Result<Rule, Failure> {
    inf.says("version", "Signature", "\"$Windows NT$\"")?;
    inf.says("version", "PnpLockdown", "1")?;
    let catalog = inf.value("version", "CatalogFile")?;
    if !catalog.ends_with(".cat") {
        return Err(format!("CatalogFile is {catalog}"));
    }
    let driver = inf.value("version", "DriverVer")?;
    let good = driver.split_once(',').is_some_and(|(date, version)| {
        let numbers =
            |text: &str, by, count| text.split(by).filter(|n| n.trim().parse::<u16>().is_ok()).count() == count;
        numbers(date, '/', 3) && numbers(version, '.', 4)
    });
    if !good {
        return Err(format!("DriverVer is {driver}, wanted month/day/year,a.b.c.d"));
    }
    let class = inf.value("version", "Class")?;
    let known = CLASSES.iter().find(|(name, ..)| name.eq_ignore_ascii_case(class));
    let (_, guid, rule) = known.ok_or_else(|| format!("Class is {class}"))?;
    inf.says("version", "ClassGUID", guid)?;
    Ok(*rule)
}

/// Models of both processors, for 1809 and newer.
fn platforms(inf: &Inf) -> Result<(), Failure> {
    let models = inf.models();
    for platform in [".ntamd64.10.0...17763", ".ntarm64.10.0...17763"] {
        let Some(section) = models.iter().find(|m| m.ends_with(platform)) else {
            return Err(format!("no models for {platform}"));
        };
        if inf.lines(section).next().is_none() {
            return Err(format!("[{section}] names nothing"));
        }
    }
    Ok(())
}

/// Sections: what is named exists, what exists is named.
fn reached(inf: &Inf) -> Result<(), Failure> {
    const ROOTS: &[&str] = &[
        "version",
        "manufacturer",
        "controlflags",
        "destinationdirs",
        "sourcedisksnames",
        "sourcedisksfiles",
        "strings",
    ];
    let mut named: Vec<String> = ROOTS.iter().map(|r| (*r).to_owned()).chain(inf.models()).collect();
    for install in inf.installs() {
        if !inf.has(&install) {
            return Err(format!("[{install}] is not there"));
        }
        let suffixes = ["", ".services", ".remove", ".remove.services", ".hw", ".wdf", ".coinstallers"];
        named.extend(suffixes.iter().map(|s| format!("{install}{s}")));
    }
    let mut at = 0;
    while let Some(section) = named.get(at).cloned() {
        for (key, value) in inf.pairs(&section) {
            let words: Vec<&str> = value.split(',').map(str::trim).collect();
            let list: &[&str] = match key.to_lowercase().as_str() {
                "addservice" => words.get(2..).unwrap_or_default(),
                key if NAMING.contains(&key) && !["include", "needs"].contains(&key) => &words,
                _ => &[],
            };
            for word in list.iter().filter(|w| !w.is_empty() && !w.starts_with('@')) {
                if !inf.has(word) {
                    return Err(format!("[{section}] {key} names [{word}], which is not there"));
                }
                if !named.contains(&word.to_lowercase()) {
                    named.push(word.to_lowercase());
                }
            }
        }
        at += 1;
    }
    match inf.sections.iter().find(|s| !named.contains(&s.0)) {
        Some((name, _)) => Err(format!("nothing names [{name}]")),
        None => Ok(()),
    }
}

/// Files and services.
fn files(inf: &Inf) -> Result<(), Failure> {
    let sources: Vec<(&str, &str)> = inf.pairs("SourceDisksFiles").collect();
    for (file, disk) in &sources {
        let disk = disk.split(',').next().unwrap_or_default().trim();
        if inf.value("SourceDisksNames", disk).is_err() {
            return Err(format!("{file} comes from disk {disk}, which is not there"));
        }
    }
    let has = |file: &str| sources.iter().any(|(f, _)| f.eq_ignore_ascii_case(file));
    for install in inf.installs() {
        for section in
            inf.pairs(&install).filter(|(k, _)| k.eq_ignore_ascii_case("CopyFiles")).flat_map(|(_, v)| v.split(','))
        {
            for line in inf.lines(section.trim()) {
                let file = line.split(',').next().unwrap_or_default().trim();
                if !has(file) {
                    return Err(format!("{file} is copied and has no source"));
                }
            }
        }
    }
    inf.value("DestinationDirs", "DefaultDestDir")?;
    for (name, section) in inf.services() {
        inf.says(&section, "ServiceType", "1")?;
        inf.says(&section, "LoadOrderGroup", "NDIS").or_else(|_| inf.says(&section, "LoadOrderGroup", "PNP_TDI"))?;
        let binary = inf.value(&section, "ServiceBinary")?;
        let file = binary.rsplit('\\').next().unwrap_or_default();
        if !(binary.starts_with("%12%\\") || binary.starts_with("%13%\\")) || !has(file) {
            return Err(format!("service {name}: {binary} is not copied to the drivers"));
        }
    }
    Ok(())
}

/// Every `%name%` is a string, every string is used.
fn strings(inf: &Inf, text: &str) -> Result<(), Failure> {
    let known: Vec<&str> = inf.pairs("strings").map(|(name, _)| name).collect();
    for line in inf.sections.iter().filter(|s| s.0 != "strings").flat_map(|s| &s.1) {
        for name in line.split('%').skip(1).step_by(2) {
            let directory = name.bytes().all(|b| b.is_ascii_digit());
            if !directory && !known.iter().any(|k| k.eq_ignore_ascii_case(name)) {
                return Err(format!("%{name}% is not among the strings"));
            }
        }
    }
    let text = text.to_lowercase();
    match known.iter().find(|name| !text.contains(&format!("%{}%", name.to_lowercase()))) {
        Some(unused) => Err(format!("nothing uses the string {unused}")),
        None => Ok(()),
    }
}

/// Holds an INF to all of it.
///
/// # Errors
/// What does not hold.
pub(crate) fn lint(text: &str) -> Result<(), Failure> {
    let inf = Inf::read(text);
    let rule = version(&inf)?;
    platforms(&inf)?;
    reached(&inf)?;
    files(&inf)?;
    strings(&inf, text)?;
    rule(&inf)
}

/// All INFs of the drivers.
///
/// # Errors
/// A folder that cannot be read.
pub(crate) fn all() -> Result<Vec<PathBuf>, Failure> {
    let (mut folders, mut found) = (vec![super::root().join("driver/ndis")], Vec::new());
    while let Some(folder) = folders.pop() {
        let entries = std::fs::read_dir(&folder).map_err(|error| format!("{}: {error}", folder.display()))?;
        for path in entries.flatten().map(|entry| entry.path()) {
            if path.is_dir() && !path.ends_with("target") {
                folders.push(path);
            } else if path.extension().is_some_and(|e| e.eq_ignore_ascii_case("inf")) {
                found.push(path);
            }
        }
    }
    found.sort();
    Ok(found)
}

/// Holds all INFs to it and gives their paths.
///
/// # Errors
/// What does not hold, with the file.
pub(crate) fn check() -> Result<Vec<PathBuf>, Failure> {
    let found = all()?;
    for path in &found {
        lint(&read_text(path)?).map_err(|what| format!("{}: {what}", path.display()))?;
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(name: &str) -> String {
        let path = all().unwrap().into_iter().find(|path| path.ends_with(name)).unwrap();
        read_text(&path).unwrap()
    }

    #[test]
    fn all_of_ours_hold() {
        let names = check().unwrap().iter().map(|p| p.file_name().unwrap().to_owned()).collect::<Vec<_>>();
        assert_eq!(names, ["planb.inf", "planbim.inf", "planbim_mp.inf"]);
    }

    /// Each rule, broken where it can be.
    #[test]
    fn what_is_changed_does_not_hold() {
        const EVERY: &[(&str, &str)] = &[
            ("Signature   = \"$Windows NT$\"", "Signature = \"$Chicago$\""),
            ("ClassGUID   = {4D36E97", "ClassGUID   = {4D36E98"),
            ("PnpLockdown = 1", "PnpLockdown = 0"),
            (".cat\n", ".txt\n"),
            ("11/23/2026,0.1.0.0", "11/23/2026"),
            ("%Disk%", "%Disc%"),
            ("NTarm64", "NTia64"),
            ("[Models.NTarm64.10.0...17763]\n%Description% = ", "[Models.NTarm64.10.0...17763]\n; "),
            ("= Install,planb", "= Instal,planb"),
            ("[SourceDisksFiles]\nplanb", "[SourceDisksFiles]\n;planb"),
            ("DefaultDestDir", "OtherDestDir"),
            ("ServiceBinary  = %12%\\", "ServiceBinary = C:\\"),
            ("ServiceType    = 1", "ServiceType = 16"),
            ("ErrorControl   = 1", "ErrorControl = 3"),
            ("LoadOrderGroup = NDIS", "LoadOrderGroup = TDI"),
            ("[Service]", "[Services]"),
            ("AddService = planb", "AddService = planc"),
            (",Service", ",Servers"),
            ("HelpText    = ", "HelpTexts = "),
            ("UpperRange", "UpperRang"),
            ("LowerRange", "LowerRang"),
        ];
        const EACH: &[(&str, &str, &str)] = &[
            ("planb.inf", "Class       = NetService", "Class = Net"),
            ("planb.inf", "0x40000", "0x400"),
            ("planb.inf", "FilterType,     0x00010001, 2", "FilterType, 0x00010001, 1"),
            ("planb.inf", "FilterRunType,  0x00010001, 2", "FilterRunType, 0x00010001, 3"),
            ("planb.inf", "\"custom\"", "\"firewall\""),
            ("planb.inf", "\"noupper\"", "\"tdi\""),
            ("planb.inf", "\"nolower\"", "\"ethernet\""),
            ("planb.inf", "\"ethernet\"", "\"ethernet, wlan\""),
            ("planb.inf", "{6E3A4C2B-", "{6E3A4C2-"),
            ("planb.inf", "CoServices,     0x00010000, \"planb\"", "CoServices, 0x00010000, \"planc\""),
            ("planb.inf", "planb.sys,,,2", "plan.sys,,,2"),
            ("planb.inf", "StartType      = 1", "StartType = 3"),
            ("planb.inf", "DelService = planb,", "DelService = planc,"),
            ("planb.inf", "[EventLog]", "[Events]"),
            ("planb.inf", "[Service.AddReg]", "[Service.Registry]"),
            ("planb.inf", "= Service.AddReg", "= Service.AddRegistry"),
            ("planbim.inf", "Class       = NetTrans", "Class = NetService"),
            ("planbim.inf", "Characteristics = 0x0", "Characteristics = 0x400"),
            ("planbim.inf", "\"noupper\"", "\"tdi\""),
            ("planbim.inf", "\"ndis5\"", "\"wan\""),
            ("planbim.inf", "{9C5B8E1E-", "{9C5B8E1-"),
            ("planbim.inf", "ComponentDll, 0x00000000, \"planbnot.dll\"", "ComponentDll, 0x00000000, \"other.dll\""),
            ("planbim.inf", "Notify.CopyFiles   = 11", "Notify.CopyFiles = 12"),
            ("planbim.inf", "CopyInf         = planbim_mp.inf", "CopyInf = planbim_mp"),
            ("planbim.inf", "StartType      = 3", "StartType = 1"),
            ("planbim.inf", "DelService = planbim,", "DelService = planbin,"),
            ("planbim_mp.inf", "Class       = Net\n", "Class = NetTrans\n"),
            ("planbim_mp.inf", "0x29", "0x28"),
            ("planbim_mp.inf", "0x29", "0x21"),
            ("planbim_mp.inf", "0x29", "0x9"),
            ("planbim_mp.inf", "*IfType            = 6", "*IfType = 71"),
            ("planbim_mp.inf", "*MediaType         = 0", "*MediaType = 9"),
            ("planbim_mp.inf", "*PhysicalMediaType = 0", "*PhysicalMediaType = 14"),
            ("planbim_mp.inf", "planbimmp,2,", "planbimmp,,"),
            ("planbim_mp.inf", "ExcludeFromSelect", "ExcludeFrom"),
            ("planbim_mp.inf", "StartType      = 3", "StartType = 1"),
            ("planbim_mp.inf", "\"ndis5\"", "\"noupper\""),
            ("planbim_mp.inf", "LowerRange, 0x00000000, \"ethernet\"", "LowerRange, 0x00000000, \"wan\""),
        ];
        for name in ["planb.inf", "planbim.inf", "planbim_mp.inf"] {
            let good = text(name);
            assert_eq!(lint(&good), Ok(()), "{name}");
            let own = EACH.iter().filter(|(file, ..)| *file == name).map(|(_, old, new)| (*old, *new));
            for (old, new) in EVERY.iter().copied().chain(own) {
                assert!(good.contains(old), "{name}: {old}");
                assert!(lint(&good.replace(old, new)).is_err(), "{name}: {old} → {new}");
            }
        }
    }

    #[test]
    fn a_semicolon_in_quotes_is_no_comment() {
        assert_eq!(uncommented("a = \"x;y\" ; z"), "a = \"x;y\" ");
        assert_eq!(uncommented("; all of it"), "");
    }
}
