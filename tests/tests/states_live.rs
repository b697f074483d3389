//! States and source nodes of real conversations: what lists show, what is killed by which words, what is stored and
//! restored, what a load that is taken back leaves. Needs root and namespaces.

use std::io::{Read, Write};
use std::net::{TcpStream, UdpSocket};
use std::time::Duration;

use serde_json::Value;
use tests::documents::check;
use tests::live::{Bed, Plan, Space};

const SERVER: &str = "198.51.100.10";
const RULES: &str = "set skip on lo\nmatch out on ext0 inet nat-to (ext0)\nblock\n\
    pass in on int0 inet proto tcp to port 7 keep state (source-track rule, max-src-states 100) label \"talk\"\n\
    pass in on int0 inet proto udp to port 53 label \"dns\"\npass in on int0 inet proto icmp label \"ping\"\n\
    pass out on ext0\npass out on int0 proto { icmp icmp6 }\n";

fn connect(from: &Space) -> TcpStream {
    from.within(|| {
        let stream = TcpStream::connect((SERVER, 7)).expect("the server answers");
        stream.set_read_timeout(Some(Duration::from_secs(20))).expect("a timeout");
        stream
    })
}

fn talks(stream: &mut TcpStream) -> bool {
    let mut back = [0; 4];
    stream.write_all(b"word").is_ok() && stream.read_exact(&mut back).is_ok() && &back == b"word"
}

fn ask(from: &Space) -> UdpSocket {
    from.within(|| {
        let socket = UdpSocket::bind("0.0.0.0:0").expect("a port");
        socket.connect((SERVER, 53)).expect("an address");
        socket.set_read_timeout(Some(Duration::from_secs(20))).expect("a timeout");
        let mut back = [0; 4];
        assert!(socket.send(b"word").is_ok() && socket.recv(&mut back).is_ok(), "an answer");
        socket
    })
}

/// States of IPv4, a line each.
fn listed(bed: &Bed) -> Vec<String> {
    let out = bed.control("-s states");
    out.lines().filter(|l| !l.contains("ipv6")).map(str::to_owned).collect()
}

/// What a command says on standard error; it must succeed.
fn said(bed: &Bed, words: &str) -> String {
    let ran = bed.pfctl(words);
    assert!(ran.ok, "{words}: {}{}", ran.out, ran.err);
    ran.err.trim_end().to_owned()
}

fn json(bed: &Bed, words: &str) -> Value {
    let document: Value = serde_json::from_str(&bed.control(&format!("--json {words}"))).expect("JSON");
    check(&document);
    document["data"].clone()
}

#[test]
fn live_states_are_shown_as_pfctl_shows_them() {
    let Some(bed) = Bed::new(RULES) else { return };
    bed.server.echo(7, 53);
    let mut stream = connect(&bed.client);
    assert!(talks(&mut stream));
    let port = stream.local_addr().unwrap().port();
    let udp = ask(&bed.client).local_addr().unwrap().port();
    assert!(bed.client.pings(SERVER));
    let lines = listed(&bed);
    assert_eq!(lines.len(), 6, "{lines:#?}");
    assert_eq!(lines[0], format!("all tcp {SERVER}:7 <- 192.0.2.10:{port}       ESTABLISHED:ESTABLISHED"));
    let (front, tail) = lines[1].split_once(" (").expect("a translation");
    assert!(front.starts_with("all tcp 198.51.100.1:"), "{}", lines[1]);
    assert_eq!(tail, format!("192.0.2.10:{port}) -> {SERVER}:7       ESTABLISHED:ESTABLISHED"));
    assert_eq!(lines[2], format!("all udp {SERVER}:53 <- 192.0.2.10:{udp}       SINGLE:MULTIPLE"));
    assert!(lines[3].ends_with(&format!("(192.0.2.10:{udp}) -> {SERVER}:53       MULTIPLE:SINGLE")), "{}", lines[3]);
    assert!(lines[4].starts_with(&format!("all icmp {SERVER}:8 <- 192.0.2.10:")), "{}", lines[4]);

    // More of the first of them.
    let more = bed.control("-s states -vv");
    let block: Vec<&str> = more.lines().skip_while(|l| *l != lines[0]).take(4).collect();
    let (window, counts, id) = (block[1], block[2], block[3]);
    assert!(window.starts_with("   [") && window.matches(" + ").count() == 2 && window.contains("wscale"), "{window}");
    assert!(counts.starts_with("   age 00:") && counts.contains(", expires in 2") && counts.contains(" pkts, "));
    assert!(counts.ends_with("bytes, rule 2, source-track"), "{counts}");
    let words: Vec<&str> = id.split_whitespace().collect();
    assert!(words[0] == "id:" && words[1].len() == 16 && words[2] == "creatorid:" && words[3].len() == 8, "{id}");
    assert_eq!(bed.control("-s states -R 3").lines().count(), 1, "of one rule");
    assert_eq!(bed.control("-s states -i ext0"), "", "bound to none");

    let states = json(&bed, "-s states");
    let first = states.as_array().unwrap().iter().find(|s| s["text"] == lines[0].as_str()).expect("the first");
    assert!(first["protocol"] == 6 && first["direction"] == "in", "{first}");
    assert!(first["interface"] == "all" && first["rule"] == 2, "{first}");
    assert!(first["id"] == words[1] && first["creator"] == words[3], "{first}");
    let sources = json(&bed, "-s Sources");
    let node = &sources.as_array().unwrap()[0];
    assert!(node["source"] == "192.0.2.10" && node["states"] == 1 && node["rule"] == 2, "{node}");
    let text = bed.control("-s Sources -v");
    let [head, tail] = text.lines().collect::<Vec<_>>()[..] else { panic!("{text}") };
    assert_eq!(head, "192.0.2.10 ( states 1, connections 1, rate 0.0/0s )");
    assert!(tail.starts_with("   age 00:") && tail.ends_with("bytes, rule 2"), "{tail}");
}

#[test]
fn live_states_are_killed_by_host_net_label_key_and_number() {
    let Some(bed) = Bed::new(RULES) else { return };
    bed.server.echo(7, 53);
    let make = || {
        said(&bed, "-F states");
        let streams = [connect(&bed.client), connect(&bed.client)];
        let socket = ask(&bed.client);
        assert_eq!(listed(&bed).len(), 6);
        (streams, socket)
    };
    // Sides are those of the first packet: on the way out it comes from the address it has outside.
    let (_held, _too) = make();
    assert_eq!(said(&bed, "-k 192.0.2.99"), "killed 0 states from 1 sources and 0 destinations");
    assert_eq!(said(&bed, "-k 192.0.2.10 -k 198.51.100.11"), "killed 0 states from 1 sources and 1 destinations");
    let killed = said(&bed, &format!("-k 192.0.2.10 -k {SERVER}"));
    assert!(killed.starts_with("killed ") && killed.ends_with(" states from 1 sources and 1 destinations"), "{killed}");
    assert!(listed(&bed).iter().all(|l| !l.contains("<- 192.0.2.10:")), "{:#?}", listed(&bed));
    let (_held, _too) = make();
    assert_eq!(said(&bed, "-q -k 0.0.0.0/0"), "");
    assert_eq!(listed(&bed), Vec::<String>::new());
    let (_held, _too) = make();
    assert_eq!(said(&bed, "-k label -k dns"), "killed 1 states");
    assert_eq!(said(&bed, "-k label -k dns"), "killed 0 states");
    let (streams, _too) = make();
    let port = streams[0].local_addr().unwrap().port();
    assert_eq!(said(&bed, &format!("-k key -k 'tcp {SERVER}:7 <- 192.0.2.10:1'")), "killed 0 states");
    assert_eq!(said(&bed, &format!("-k key -k 'tcp {SERVER}:7 <- 192.0.2.10:{port}'")), "killed 2 states");
    assert!(listed(&bed).iter().all(|l| !l.contains(&format!(":{port}"))), "in and out, whichever key it was");
    let states = json(&bed, "-s states");
    let row = states.as_array().unwrap().iter().find(|s| s["protocol"] == 6).expect("the other stream");
    let (id, creator) = (row["id"].as_str().unwrap(), row["creator"].as_str().unwrap());
    assert_eq!(said(&bed, &format!("-k id -k {id}/1")), "killed 0 states", "another host's");
    assert_eq!(said(&bed, &format!("-k id -k {id}/{creator}")), "killed 1 states");
    assert_eq!(said(&bed, &format!("-k id -k {id}")), "killed 0 states");
    // Nodes go, states stay.
    let (_held, _too) = make();
    let left = listed(&bed).len();
    assert_eq!(said(&bed, "-K 192.0.2.10"), "killed 1 src nodes from 1 sources and 0 destinations");
    assert_eq!((bed.control("-s Sources"), listed(&bed).len()), (String::new(), left));
    for (words, why) in [
        ("-k key -k 'tcp 1.1.1.1:1'", "pfctl: pfctl_key_kill_states: key must be "),
        ("-k key -k 'tcp 1.1.1.1:1 -> host:2'", "pfctl: invalid host: host:2"),
        ("-k id -k xyz", "pfctl: wrong id format specified"),
        ("-k id -k 0", "pfctl: cannot kill id 0"),
        ("-k label", "pfctl: no label specified"),
        ("-k 1.2.3.4/33", "pfctl: prefix is too large: 33"),
    ] {
        let ran = bed.pfctl(words);
        assert!(!ran.ok && ran.err.starts_with(why), "{words}: {}", ran.err);
    }
    assert_eq!(listed(&bed).len(), left, "what is wrong kills nothing");
}

#[test]
fn live_states_outlive_the_filter_in_a_file() {
    let Some(mut bed) = Bed::new(RULES) else { return };
    bed.server.echo(7, 53);
    let mut streams: Vec<TcpStream> = (0..20).map(|_| connect(&bed.client)).collect();
    assert!(streams.iter_mut().all(talks));
    let file = bed.folder().join("states").display().to_string();
    let ends = |bed: &Bed| {
        let mut lines: Vec<String> = listed(bed).into_iter().filter(|l| l.contains(" tcp ")).collect();
        lines.sort();
        lines
    };
    let before = ends(&bed);
    assert_eq!(before.len(), 40);
    bed.control(&format!("-S {file}"));
    bed.restart(Plan::default(), RULES);
    assert_eq!(ends(&bed), Vec::<String>::new(), "a new filter knows nobody");
    // Neighbours that have been asked for since are there already.
    let told = said(&bed, &format!("-L {file}"));
    assert_eq!(ends(&bed), before, "{told}");
    assert!(streams.iter_mut().all(talks), "the conversations go on");
    let again = said(&bed, &format!("-L {file}"));
    assert!(again.contains("states were not taken"), "{again}");
    assert_eq!(ends(&bed), before, "nothing comes twice");
    // A file that is damaged anywhere is refused whole.
    said(&bed, "-F states");
    let mut bytes = std::fs::read(&file).unwrap();
    let half = bytes.len() / 2;
    std::fs::write(&file, &bytes[..half]).unwrap();
    let ran = bed.pfctl(&format!("-L {file}"));
    assert!(!ran.ok && ran.err.contains("nothing was loaded"), "{}", ran.err);
    bytes[8] ^= 0x40;
    std::fs::write(&file, &bytes).unwrap();
    let ran = bed.pfctl(&format!("-L {file}"));
    assert!(!ran.ok && ran.err.contains("nothing was loaded"), "{}", ran.err);
    assert_eq!(ends(&bed), Vec::<String>::new());
}

#[test]
fn live_conversations_outlast_a_load_that_is_taken_back() {
    let Some(bed) = Bed::new(RULES) else { return };
    bed.server.echo(7, 53);
    let mut stream = connect(&bed.client);
    assert!(talks(&mut stream));
    let shut = bed.write("shut.conf", "set skip on lo\nblock label \"shut\"\n").display().to_string();
    let label = |bed: &Bed| bed.control("-s labels").split_whitespace().next().unwrap_or_default().to_owned();
    // Nobody confirms: the filter itself goes back.
    let told = said(&bed, &format!("-f {shut} --confirm 10s"));
    assert!(told.contains("pfload confirm"), "{told}");
    assert_eq!(label(&bed), "shut");
    assert!(talks(&mut stream), "what is established stays");
    let fresh = bed.client.within(|| {
        let to = (std::net::Ipv4Addr::new(198, 51, 100, 10), 7).into();
        TcpStream::connect_timeout(&to, Duration::from_millis(300)).is_ok()
    });
    assert!(!fresh, "and nothing new comes in");
    let other = bed.pfctl("-f /dev/null");
    assert!(!other.ok && other.err.contains("waits for its confirmation"), "{}", other.err);
    tests::daemon::until("the filter goes back", || label(&bed) == "talk");
    assert!(talks(&mut stream) && talks(&mut connect(&bed.client)));
    // Somebody confirms: they stay. And somebody goes back at once.
    said(&bed, &format!("-f {shut} --confirm 1m"));
    let ran = bed.pfctl("revert");
    assert!(ran.ok && ran.err.contains("the rules before are in force again"), "{}", ran.err);
    assert_eq!(label(&bed), "talk");
    said(&bed, &format!("-f {shut} --confirm 1m"));
    assert!(bed.pfctl("confirm").ok);
    assert_eq!(label(&bed), "shut");
    assert!(!bed.pfctl("revert").ok, "nothing waits any more");
    // What is left of the old rules can be ended with the load itself.
    bed.load(RULES);
    let mut second = connect(&bed.client);
    assert!(talks(&mut second));
    said(&bed, &format!("-f {shut} --reeval"));
    assert_eq!(listed(&bed).into_iter().filter(|l| l.contains(" tcp ")).count(), 0);
}
