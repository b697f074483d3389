//! Live behaviours: real clients and servers, real stacks, the filter between them.
//!
//! Tests are named by the numbers of the catalogue of behaviours. The rows that packets alone can show stand as scripts
//! in `corpus/behaviours`.

mod live {
    use std::collections::BTreeSet;
    use std::io::{Read, Write};
    use std::net::{TcpListener, TcpStream};
    use std::time::Duration;

    use tests::live::{Bed, Plan, Running, Space, until};
    use tests::program;
    use tests::script::packet::Seen;

    /// A page server; whoever can reach it reads `word`.
    fn page(bed: &Bed, on: &Space, port: u16, word: &str) -> Running {
        let folder = bed.folder().join(format!("page-{port}-{word}"));
        std::fs::create_dir_all(&folder).unwrap();
        std::fs::write(folder.join("index.html"), word).unwrap();
        on.serve(&format!("python3 -m http.server --bind :: --directory {} {port}", folder.display()), "tcp", port)
    }

    /// A server that sends back what it gets, for as long as the test runs.
    fn echo(on: &Space, port: u16) {
        let listener = on.within(|| TcpListener::bind(("::", port)).unwrap());
        std::thread::spawn(move || {
            for stream in listener.incoming().map_while(Result::ok) {
                std::thread::spawn(move || {
                    let (mut from, mut to) = (stream.try_clone().unwrap(), stream);
                    let _ = std::io::copy(&mut from, &mut to);
                });
            }
        });
    }

    /// A connection that must come about, however long it takes.
    fn connect(from: &Space, to: &str) -> std::io::Result<TcpStream> {
        let to = to.parse().unwrap();
        from.within(|| {
            let stream = TcpStream::connect_timeout(&to, Duration::from_secs(30))?;
            stream.set_read_timeout(Some(Duration::from_secs(30)))?;
            Ok(stream)
        })
    }

    /// Whether a connection does not come about: for those that must not.
    fn connects_in_vain(from: &Space, to: &str) -> bool {
        let to = to.parse().unwrap();
        from.within(|| TcpStream::connect_timeout(&to, Duration::from_secs(2))).is_err()
    }

    /// Whether a word does not come back: for words that must not.
    fn echoes_in_vain(stream: &mut TcpStream, word: &str) -> bool {
        stream.set_read_timeout(Some(Duration::from_secs(1))).unwrap();
        !echoes(stream, word)
    }

    /// Whether a word comes back.
    fn echoes(stream: &mut TcpStream, word: &str) -> bool {
        let mut back = vec![0; word.len()];
        stream.write_all(word.as_bytes()).is_ok() && stream.read_exact(&mut back).is_ok() && back == word.as_bytes()
    }

    #[test]
    fn the_bed_forwards_and_watches() {
        let plan = Plan { router: true, unfiltered: true, ..Plan::default() };
        let Some(bed) = Bed::planned(plan, "") else { return };
        assert!(bed.client.pings("203.0.113.10") && bed.client.pings("2001:db8:3::10"));
        let _page = page(&bed, &bed.server, 80, "hello");
        for url in ["http://203.0.113.10/", "http://[2001:db8:3::10]/"] {
            assert_eq!(bed.fetch(&bed.client, url).as_deref(), Some("hello"), "{url}");
        }
        assert!(bed.fetches_in_vain(&bed.client, "http://203.0.113.10:81/"));
        echo(&bed.server, 7);
        assert!(echoes(&mut connect(&bed.client, "203.0.113.10:7").unwrap(), "word"));
        let (near, gate) = bed.inside();
        let seen = bed.outside().0.capture("icmp");
        near.send(&gate, &["icmp 192.0.2.10 > 203.0.113.10 echoreq id 77 seq 1"]);
        let packets = seen.wait(2);
        let fields = |name| packets.iter().filter_map(|p| p.field(name)).collect::<Vec<_>>();
        assert_eq!(fields("src"), ["192.0.2.10", "203.0.113.10"]);
        assert_eq!((fields("id"), fields("ttl")), (vec!["77".to_owned(); 2], vec!["62".to_owned(), "64".to_owned()]));
    }

    /// The client can have the server's page, by both families, at these addresses.
    const URLS: [&str; 2] = ["http://198.51.100.10/", "http://[2001:db8:2::10]/"];

    #[test]
    fn b002_b003_b004_b005_b007_pass_and_block() {
        let Some(bed) = Bed::new("") else { return };
        let (v4, v6) = ("198.51.100.10", "2001:db8:2::10");
        assert!(bed.client.pings(v4) && bed.client.pings(v6), "no rules pass (b003)");
        assert_eq!(bed.control("-s states").trim(), "", "no rules, no states (b003)");
        for rules in ["block in\n", "block out\n"] {
            bed.load(rules);
            assert!(bed.client.pings_in_vain(v4), "{rules} (b004)");
        }
        bed.load("block in\npass out\npass in proto icmp\n");
        assert!(bed.client.pings(v4), "the states of both sides let the answer back (b005)");
        assert!(bed.client.pings_in_vain(v6), "icmp is not icmp6 (b002)");
        bed.load("block in\npass out\npass in proto icmp6\n");
        assert!(bed.client.pings(v6) && bed.client.pings_in_vain(v4), "(b002)");
        bed.load("block all\npass quick proto icmp\nblock in proto icmp\n");
        assert!(bed.client.pings(v4), "(b007)");
    }

    #[test]
    fn b020_b021_b024_what_a_blocked_client_hears() {
        let Some(bed) = Bed::new("pass\nblock drop in on int0 proto { tcp udp }\n") else { return };
        let connect = |seconds: u32, url: &str| {
            bed.client.run(&format!("curl -s -m {seconds} '{url}'; echo $?")).out.trim().to_owned()
        };
        // 7: could not connect; 28: time is up.
        assert_eq!(connect(2, URLS[0]), "28", "(b020)");
        bed.load("set block-policy return\npass\nblock in on int0 proto { tcp udp }\n");
        assert_eq!(URLS.map(|url| connect(50, url)), ["7", "7"], "(b021)");
        for server in ["198.51.100.10", "2001:db8:2::10"] {
            let asked = bed.client.run(&format!("dig +time=30 +tries=1 @{server} example.org"));
            assert!((asked.out + &asked.err).contains("refused"), "{server} (b021, b024)");
        }
    }

    #[test]
    fn b028_b029_answers_pass_by_state() {
        let Some(bed) = Bed::new("block in\npass out\n") else { return };
        assert!(bed.filter.pings("198.51.100.10"), "the host's own question (b028)");
        assert!(bed.server.pings_in_vain("198.51.100.1"), "unasked (b028)");
        let _names = bed.server.serve(
            "dnsmasq -k -p 53 -i s0 --no-resolv --no-hosts --address=/a.test/192.0.2.77 -u root --pid-file=",
            "udp",
            53,
        );
        let asked = bed.filter.run("dig +short +time=30 +tries=1 @198.51.100.10 a.test");
        assert_eq!(asked.out.trim(), "192.0.2.77", "(b029) {}", asked.err);
    }

    #[test]
    fn b030_b032_b034_b046_connections_outlive_rules_until_they_are_killed() {
        let Some(bed) = Bed::new("block\npass proto tcp to port 7\n") else { return };
        echo(&bed.server, 7);
        let mut stream = connect(&bed.client, "198.51.100.10:7").unwrap();
        assert!(echoes(&mut stream, "before"));
        let states = bed.control("-s states");
        assert!(states.contains("ESTABLISHED:ESTABLISHED"), "(b046) {states}");
        bed.load("block all\n");
        assert!(echoes(&mut stream, "after"), "(b030)");
        assert!(connects_in_vain(&bed.client, "198.51.100.10:7"), "new ones do not");
        bed.control("-k 203.0.113.99");
        assert!(echoes(&mut stream, "another host's states were killed"), "(b032)");
        bed.control("-k id -k ffffffff00000001");
        assert!(echoes(&mut stream, "another state was killed"), "(b034)");
        let listed = bed.control("-vv -s states");
        let ids = listed.lines().filter_map(|l| l.split_whitespace().skip_while(|w| *w != "id:").nth(1));
        for id in ids {
            bed.control(&format!("-k id -k {id}"));
        }
        assert!(echoes_in_vain(&mut stream, "gone"), "(b034)");
    }

    #[test]
    fn b040_b193_limits_of_a_rule() {
        let Some(bed) = Bed::new("block\npass proto tcp to port 7 keep state (max 2)\n") else { return };
        echo(&bed.server, 7);
        // A rule without direction makes a state on each interface: two for one connection.
        let mut first = connect(&bed.client, "198.51.100.10:7").unwrap();
        assert!(connects_in_vain(&bed.client, "198.51.100.10:7"), "(b040)");
        assert!(echoes(&mut first, "still there"), "(b040)");
        bed.load("block\npass in on int0 proto tcp to port 7 keep state (max-src-states 2)\npass out\n");
        bed.control("-F states");
        let _open = [(); 2].map(|()| connect(&bed.client, "198.51.100.10:7").expect("(b193)"));
        assert!(connects_in_vain(&bed.client, "198.51.100.10:7"), "(b193)");
    }

    #[test]
    fn b072_b074_b075_handshakes_by_the_filter() {
        let rules = "block\npass in on int0 proto tcp to port 80 synproxy state\npass out\npass inet6 proto icmp6\n";
        let Some(bed) = Bed::new(rules) else { return };
        let _page = page(&bed, &bed.server, 80, "word");
        assert_eq!(
            URLS.map(|u| bed.fetch(&bed.client, u)),
            [Some("word".to_owned()), Some("word".to_owned())],
            "(b072)"
        );
        let seen = bed.outside().0.capture("tcp");
        let (near, gate) = bed.inside();
        near.send(&gate, &["tcp 192.0.2.99:1000 > 198.51.100.10:80 S seq 100"]);
        assert_eq!(seen.settle().len(), 0, "the server sees no half connection (b072)");
        bed.load("block\npass in on int0 proto tcp to 192.0.2.1 port 8000 rdr-to 198.51.100.10 port 80 synproxy state\npass out\n");
        assert_eq!(bed.fetch(&bed.client, "http://192.0.2.1:8000/").as_deref(), Some("word"), "(b074)");
        bed.load("set syncookies always\npass\n");
        assert_eq!(
            URLS.map(|u| bed.fetch(&bed.client, u)),
            [Some("word".to_owned()), Some("word".to_owned())],
            "(b075)"
        );
        assert!(bed.client.pings("198.51.100.10"), "(b075)");
    }

    #[test]
    fn b080_b082_b222_routes_are_traced_through_translation() {
        let plan = Plan { router: true, hidden: true, ..Plan::default() };
        let rules = "pass\nmatch out on ext0 inet nat-to (ext0)\nmatch out on ext0 inet6 nat-to 2001:db8:2::1\n";
        let Some(bed) = Bed::planned(plan, rules) else { return };
        for (words, hops) in [
            ("-4 203.0.113.10", ["192.0.2.1", "198.51.100.2", "203.0.113.10"]),
            ("-4 -I 203.0.113.10", ["192.0.2.1", "198.51.100.2", "203.0.113.10"]),
            ("-6 2001:db8:3::10", ["2001:db8:1::1", "2001:db8:2::2", "2001:db8:3::10"]),
            ("-6 -I 2001:db8:3::10", ["2001:db8:1::1", "2001:db8:2::2", "2001:db8:3::10"]),
        ] {
            let out = bed.client.ok(&format!("traceroute -n -w 30 -q 1 -m 5 {words}"));
            let found: Vec<&str> = out.lines().skip(1).filter_map(|l| l.split_whitespace().nth(1)).collect();
            assert_eq!(found, hops, "{words}\n{out}");
        }
    }

    #[test]
    fn b081_b140_b221_errors_of_size_come_back() {
        let plan = Plan { router: true, hidden: true, ..Plan::default() };
        let Some(bed) = Bed::planned(plan, "pass\nmatch out on ext0 inet nat-to (ext0)\n") else { return };
        let router = bed.router.as_ref().unwrap();
        router.ok("ip link set r1 mtu 1300");
        let told = |size: u32| {
            let ran = bed.client.run(&format!("ping -n -c 1 -W 5 -M do -s {} 203.0.113.10", size - 28));
            bed.client.ok("ip route flush cache");
            ran.out.replace("mtu=", "mtu = ") + &ran.err.replace("mtu=", "mtu = ")
        };
        assert!(told(1300).contains(" 0% packet loss"));
        until("an error with MTU 1300 (b081, b221)", || told(1400).contains("mtu = 1300"));
        bed.filter.ok("ip link set ext0 mtu 1400");
        until("an error with MTU 1400 (b221)", || told(1500).contains("mtu = 1400"));
        let seen = bed.inside().0.capture("icmp[0] = 3");
        let _ = told(1400);
        let errors = seen.wait(1);
        assert_eq!(errors.iter().filter_map(|e| e.field("sum")).collect::<Vec<_>>(), ["ok"], "(b140)");
        assert_eq!(errors[0].field("quote.src").as_deref(), Some("192.0.2.10"), "(b140)");
    }

    #[test]
    fn b093_b095_b103_translation_of_sources() {
        let plan = Plan { hidden: true, ..Plan::default() };
        let rules = "pass\nmatch out on ext0 inet nat-to (ext0)\nmatch out on ext0 inet6 nat-to (ext0:0)\n";
        let Some(bed) = Bed::planned(plan, rules) else { return };
        let _page = page(&bed, &bed.server, 80, "word");
        let seen = bed.outside().0.capture("tcp[tcpflags] = tcp-syn and dst port 80");
        for _ in 0..3 {
            assert_eq!(bed.fetch(&bed.client, URLS[0]).as_deref(), Some("word"), "(b093)");
        }
        // A client that waits too long asks again, from the same port.
        let ports = |packets: &[Seen]| packets.iter().filter_map(|p| p.field("sport")).collect::<BTreeSet<_>>();
        let packets = seen.holds("three connections (b093)", |packets| ports(packets).len() == 3);
        for packet in &packets {
            assert_eq!(packet.field("src").as_deref(), Some("198.51.100.1"), "(b093)");
            let port: u16 = packet.field("sport").unwrap().parse().unwrap();
            assert!((50001..=65535).contains(&port), "{port} (b095)");
        }
        assert!(bed.client.pings("198.51.100.10"), "(b093)");
        for _ in 0..4 {
            assert!(bed.client.pings("2001:db8:2::10"), "(b103)");
        }
        assert_eq!(bed.fetch(&bed.client, URLS[1]).as_deref(), Some("word"), "(b103)");
    }

    #[test]
    fn b094_b096_ports_run_out() {
        let plan = Plan { hidden: true, ..Plan::default() };
        let Some(bed) = Bed::planned(plan, "pass\nmatch out on ext0 inet nat-to (ext0) port 30000:30001\n") else {
            return;
        };
        echo(&bed.server, 7);
        let _open = [(); 2].map(|()| connect(&bed.client, "198.51.100.10:7").expect("(b094)"));
        assert!(connects_in_vain(&bed.client, "198.51.100.10:7"), "(b094)");
        assert!(bed.control("-s states").contains(":30000"), "the filter still answers (b094)");
    }

    #[test]
    fn b109_both_ways() {
        let plan = Plan { hidden: true, ..Plan::default() };
        let Some(bed) = Bed::planned(plan, "pass\nmatch on ext0 from 192.0.2.10 binat-to 198.51.100.77\n") else {
            return;
        };
        // Nobody answers for the address but by this entry.
        bed.filter.ok("ip address add 198.51.100.77/32 dev ext0");
        let (_there, _here) = (page(&bed, &bed.server, 80, "there"), page(&bed, &bed.client, 80, "here"));
        assert_eq!(bed.fetch(&bed.client, URLS[0]).as_deref(), Some("there"));
        assert_eq!(bed.fetch(&bed.server, "http://198.51.100.77/").as_deref(), Some("here"));
    }

    #[test]
    fn b111_b118_redirection() {
        let rules = "pass\n\
            pass in on int0 inet proto tcp to 192.0.2.1 port 80 rdr-to 198.51.100.10 port 8000\n\
            pass in on int0 inet6 proto tcp to 2001:db8:1::1 port 80 rdr-to 2001:db8:2::10 port 8000\n";
        let Some(bed) = Bed::new(rules) else { return };
        let _page = page(&bed, &bed.server, 8000, "word");
        let seen = bed.outside().0.capture("tcp");
        for url in ["http://192.0.2.1/", "http://[2001:db8:1::1]/"] {
            assert_eq!(bed.fetch(&bed.client, url).as_deref(), Some("word"), "{url} (b111)");
        }
        let _all = seen.wait(9);
        let client = |port: u16| format!("curl -s -m 50 --local-port {port} http://192.0.2.1/");
        let second = bed.client.begin(&client(4000));
        assert_eq!(bed.client.run(&client(4001)).out, "word", "(b118)");
        assert_eq!(second.finish().out, "word", "(b118)");
    }

    #[test]
    fn b112_a_published_server_for_its_neighbours() {
        let Some(bed) = Bed::new("pass\npass in on int0 proto tcp to 198.51.100.1 port 80 rdr-to 192.0.2.20\n") else {
            return;
        };
        // Client and server on one network: the filter's int0 becomes a switch's port.
        let neighbour = Space::new("n");
        neighbour.join("n0", &bed.filter, "port1");
        bed.client.ok("ip link set c0 down && ip link set c0 up && ip address replace 2001:db8:1::10/64 dev c0 nodad");
        neighbour.address("n0", &["192.0.2.20/32"]);
        bed.filter.ok("ip route add 192.0.2.20/32 dev port1 && echo 1 > /proc/sys/net/ipv4/conf/all/proxy_arp");
        neighbour.ok("ip route add 192.0.2.1/32 dev n0 && ip route add default via 192.0.2.1");
        bed.client.default_routes(&["192.0.2.1"]);
        let _page = page(&bed, &neighbour, 80, "word");
        assert_eq!(bed.fetch(&bed.client, "http://198.51.100.1/").as_deref(), Some("word"));
    }

    #[test]
    fn b119_b121_b127_ipv6_clients_of_ipv4_servers() {
        let rules = "pass\npass in on int0 inet6 to 64:ff9b::/96 af-to inet from (ext0)\n";
        let Some(bed) = Bed::new(rules) else { return };
        bed.client.ok("ip -6 route replace default via 2001:db8:1::1");
        let server = "64:ff9b::c633:640a";
        for size in [1, 5, 1200, 1400] {
            let ran = bed.client.run(&format!("ping -n -c 1 -W 30 -s {size} {server}"));
            assert!(ran.ok, "{size} bytes (b119)\n{}", ran.out);
        }
        // pf's translation forbids fragments: what does not fit the next link is answered with an error.
        let ran = bed.client.run(&format!("ping -n -c 1 -W 30 -s 2000 {server}"));
        assert!(!ran.ok && (ran.out.clone() + &ran.err).contains("Packet too big"), "(b119) {}{}", ran.out, ran.err);
        let _page = page(&bed, &bed.server, 80, "word");
        assert_eq!(bed.fetch(&bed.client, &format!("http://[{server}]/")).as_deref(), Some("word"), "(b127)");
        let asked = bed.client.run(&format!("dig +time=30 +tries=1 @{server} example.org"));
        assert!((asked.out + &asked.err).contains("refused"), "(b121)");
    }

    #[test]
    fn b125_ipv4_clients_of_ipv6_servers() {
        let rules = "pass\npass in on int0 inet to 203.0.113.10 af-to inet6 from 2001:db8:2::1 to 2001:db8:2::10\n";
        let Some(bed) = Bed::new(rules) else { return };
        let _page = page(&bed, &bed.server, 80, "word");
        assert!(bed.client.pings("203.0.113.10"));
        assert_eq!(bed.fetch(&bed.client, "http://203.0.113.10/").as_deref(), Some("word"));
    }

    #[test]
    fn b128_b137_b142_fragments() {
        let Some(bed) =
            Bed::new("block in\npass out\npass in inet proto icmp icmp-type echoreq\npass in inet6 proto icmp6\n")
        else {
            return;
        };
        let told =
            |host: &str, size: u32, wait: u32| bed.client.run(&format!("ping -n -c 1 -W {wait} -s {size} {host}")).ok;
        let ping = |host: &str, size: u32| told(host, size, 30);
        assert!(
            ping("198.51.100.10", 56) && ping("198.51.100.10", 2000) && ping("198.51.100.10", 5000),
            "(b128, b142)"
        );
        for size in [2000, 4500, 60000] {
            assert!(ping("2001:db8:2::10", size), "{size} (b137)");
        }
        bed.load("set reassemble no\nblock in\npass out\npass in inet proto icmp icmp-type echoreq\n");
        assert!(ping("198.51.100.10", 56) && !told("198.51.100.10", 2000, 1), "(b128)");
    }

    #[test]
    fn b151_recorded_routes_need_allow_opts() {
        let Some(bed) = Bed::new("pass\n") else { return };
        let ping = |wait: u32| bed.client.run(&format!("ping -n -R -c 1 -W {wait} 198.51.100.10")).ok;
        assert!(!ping(1));
        bed.load("pass allow-opts\n");
        assert!(ping(30));
    }

    #[test]
    fn b172_once_is_once() {
        let Some(bed) = Bed::new("block\npass out\npass in on int0 inet proto icmp once\n") else { return };
        assert!(bed.client.pings("198.51.100.10"));
        assert!(bed.client.pings_in_vain("198.51.100.10"));
    }

    #[test]
    fn b179_b184_counters_of_tables_and_labels() {
        let rules =
            "table <who> counters { 192.0.2.10 }\nblock\npass out\npass in on int0 inet from <who> label \"in\"\n";
        let Some(bed) = Bed::new(rules) else { return };
        bed.client.ok("ping -n -c 3 -i 0.2 -W 30 198.51.100.10");
        let value = |line: &str| {
            let table = bed.control("-t who -T show -v");
            let found = table.lines().find(|l| l.trim_start().starts_with(line)).unwrap_or_else(|| panic!("{table}"));
            let mut words = found.split_whitespace().skip_while(|w| *w != "Packets:");
            words.nth(1).unwrap().parse::<u64>().unwrap()
        };
        // The last answer may be on its way still.
        until("counters of the table (b179)", || (value("In/Pass:"), value("Out/Pass:")) == (3, 3));
        assert_eq!(value("In/Block:"), 0, "(b179)");
        // Label, evaluations, packets, bytes, in packets, in bytes, out packets, out bytes, states.
        let labels = bed.control("-s labels");
        let line = labels.lines().find(|l| l.starts_with("in ")).unwrap_or_else(|| panic!("{labels}"));
        let numbers: Vec<u64> = line.split_whitespace().skip(1).map(|n| n.parse().unwrap()).collect();
        assert_eq!((numbers[1], numbers[3], numbers[5], numbers[7]), (6, 3, 3, 1), "(b184) {line}");
        assert_eq!(numbers[2], 6 * 84, "(b184) {line}");
    }

    #[test]
    fn b192_guessers_are_shut_out() {
        let rules = "table <bad> persist\nblock in quick from <bad>\npass\n\
            pass in on int0 proto tcp to port 80 keep state (max-src-conn-rate 3/300, overload <bad> flush)\n";
        let Some(bed) = Bed::new(rules) else { return };
        let _page = page(&bed, &bed.server, 80, "word");
        assert!((0..3).all(|_| bed.fetch(&bed.client, URLS[0]).is_some()));
        assert!((0..3).any(|_| bed.fetches_in_vain(&bed.client, URLS[0])));
        assert_eq!(bed.control("-t bad -T show").trim(), "192.0.2.10");
        assert!(bed.client.pings_in_vain("198.51.100.10"), "blocked quick");
    }

    #[test]
    fn b196_b198_b200_what_scrubbing_writes() {
        let rules = "pass\nmatch scrub (max-mss 1300 random-id)\nmatch proto icmp set tos 0x14\n";
        let Some(bed) = Bed::new(rules) else { return };
        let _page = page(&bed, &bed.server, 80, "word");
        let seen = bed.outside().0.capture("tcp[tcpflags] = tcp-syn or (ip6 and ip6[53] = 2) or icmp[0] = 8");
        for url in URLS {
            assert_eq!(bed.fetch(&bed.client, url).as_deref(), Some("word"), "{url}");
        }
        bed.client.ok("ping -n -c 3 -i 0.2 -W 30 -Q 0x40 198.51.100.10");
        let pings = |packets: &[Seen]| {
            let all = packets.iter().filter(|p| p.field("proto").as_deref() == Some("1"));
            all.filter_map(|p| p.field("tos")).collect::<Vec<_>>()
        };
        let packets = seen.holds("three pings", |packets| pings(packets).len() == 3);
        let sizes: Vec<_> = packets.iter().filter_map(|p| p.field("mss")).collect();
        assert!(sizes.len() >= 2 && sizes.iter().all(|s| s == "1300"), "(b196) {sizes:?}");
        assert_eq!(pings(&packets), ["20", "20", "20"], "(b198)");
    }

    #[test]
    fn b201_a_transfer_under_tcp_normalization() {
        let Some(bed) = Bed::new("pass\nmatch scrub (reassemble tcp)\npass in on int0 proto tcp modulate state\n")
        else {
            return;
        };
        echo(&bed.server, 7);
        let mut stream = connect(&bed.client, "198.51.100.10:7").unwrap();
        let word: String = (0..50_000_u32).map(|n| char::from(b'a' + u8::try_from(n * n % 26).unwrap())).collect();
        assert!((0..40).all(|_| echoes(&mut stream, &word)));
    }

    #[test]
    fn b207_packets_by_the_rate() {
        let Some(bed) = Bed::new("block\npass out\npass in on int0 inet proto icmp max-pkt-rate 2/300\n") else {
            return;
        };
        let ran = bed.client.run("ping -n -c 3 -i 1 -W 5 198.51.100.10");
        assert!(ran.out.contains(" 2 received"), "{}", ran.out);
    }

    #[test]
    fn b214_b215_what_packets_carry_from_in_to_out() {
        let rules = "block\npass in on int0 inet proto icmp tag GOOD\npass in on int0 inet proto tcp\n\
            pass out on ext0 tagged GOOD\n";
        let Some(bed) = Bed::new(rules) else { return };
        let _page = page(&bed, &bed.server, 80, "word");
        assert!(bed.client.pings("198.51.100.10") && bed.fetches_in_vain(&bed.client, URLS[0]), "(b214)");
        bed.load("block\npass in on int0\npass out on ext0 received-on int0\n");
        assert!(bed.client.pings("198.51.100.10"), "(b215)");
        assert!(bed.filter.pings_in_vain("198.51.100.10"), "received on none (b215)");
    }

    #[test]
    fn b223_b224_families_translated_by_network_and_their_sizes() {
        let plan = Plan { router: true, ..Plan::default() };
        let rules = "pass\npass in on int0 inet to 203.0.113.0/24 af-to inet6 from 2001:db8:2::1 to 2001:db8:3::/120\n";
        let Some(bed) = Bed::planned(plan, rules) else { return };
        bed.filter.ok("ip -6 route add 2001:db8:3::/64 via 2001:db8:2::2");
        bed.server.ok("ip -6 address add 2001:db8:3::a/64 dev s0 nodad");
        echo(&bed.server, 7);
        // The filter hears of the new route when it hears of it.
        until("a ping goes through (b223)", || !bed.client.pings_in_vain("203.0.113.10"));
        let mut stream = connect(&bed.client, "203.0.113.10:7").unwrap();
        let word = "x".repeat(50_000);
        assert!((0..4).all(|_| echoes(&mut stream, &word)), "(b223)");
        bed.router.as_ref().unwrap().ok("ip link set r1 mtu 1400");
        until("an error with the other family's size (b224)", || {
            let ran = bed.client.run("ping -n -c 1 -W 5 -M do -s 1400 203.0.113.10");
            (ran.out + &ran.err).replace("mtu=", "mtu = ").contains("mtu = 1380")
        });
    }

    #[test]
    fn b226_b227_b210_routes_of_rules() {
        let plan = Plan { router: true, ..Plan::default() };
        let rules = "pass\npass in on int0 inet to 203.0.113.10 route-to 198.51.100.2\n";
        let Some(bed) = Bed::planned(plan, rules) else { return };
        bed.filter.ok("ip route del default");
        let _page = page(&bed, &bed.server, 80, "word");
        let works = |what: &str| {
            until(what, || !bed.client.pings_in_vain("203.0.113.10"));
            assert!(bed.fetch(&bed.client, "http://203.0.113.10/").is_some(), "{what}");
        };
        works("a rule's way on the way in (b226)");
        // A route that leads nowhere, which the rule overrides on the way out.
        bed.filter.ok("ip route add 203.0.113.0/24 via 198.51.100.99");
        bed.filter.ok("ip neighbour replace 198.51.100.99 lladdr 02:00:00:00:00:99 dev ext0");
        bed.load("pass\npass out on ext0 inet to 203.0.113.10 route-to 198.51.100.2\n");
        bed.control("-F states");
        works("a rule's way on the way out (b227)");
        // Answers take the way the question came, whatever the routes say.
        bed.load("pass\npass in on ext0 inet reply-to 198.51.100.2\n");
        bed.control("-F states");
        let _here = page(&bed, &bed.client, 80, "here");
        assert_eq!(bed.fetch(&bed.server, "http://192.0.2.10/").as_deref(), Some("here"), "(b210)");
    }

    #[test]
    fn b052_a_fin_inside_what_was_acknowledged() {
        let Some(bed) = Bed::new("pass\n") else { return };
        let _page = page(&bed, &bed.server, 80, "word");
        let (near, gate) = bed.inside();
        // An address no stack answers for: the test is its stack.
        let mac = bed.client.ok("cat /sys/class/net/c0/address");
        bed.filter.ok(&format!("ip neighbour replace 192.0.2.99 lladdr {} dev int0", mac.trim()));
        let seen = near.capture("tcp and dst host 192.0.2.99");
        let pair = "tcp 192.0.2.99:1000 > 198.51.100.10:80";
        near.send(&gate, &[&format!("{pair} S seq 100")]);
        let answer = seen.wait(1);
        assert_eq!(answer[0].field("flags").as_deref(), Some("SA"));
        let ack: u32 = answer[0].field("seq").unwrap().parse::<u32>().unwrap().wrapping_add(1);
        near.send(&gate, &[&format!("{pair} A seq 101 ack {ack}"), &format!("{pair} PA seq 101 ack {ack} data hello")]);
        // Whatever else the server repeats meanwhile: what counts is what it acknowledges.
        let acked = |packets: &[Seen], n: &str| packets.iter().filter(|p| p.field("ack").as_deref() == Some(n)).count();
        let before = acked(&seen.holds("hello is acknowledged", |packets| acked(packets, "106") > 0), "106");
        near.send(&gate, &[&format!("{pair} FA seq 103 ack {ack}")]);
        let _again = seen.holds("the server repeats itself", |packets| acked(packets, "106") > before);
        near.send(&gate, &[&format!("{pair} PA seq 106 ack {ack} data more")]);
        let more = seen.holds("the conversation goes on", |packets| acked(packets, "110") > 0);
        assert_eq!(acked(&more, "107"), 0, "nothing is closing");
    }

    #[test]
    fn b176_b190_b217_what_a_load_keeps_and_shows() {
        let Some(bed) = Bed::new("pass\n") else { return };
        let inner = bed.write("inner.conf", "pass in proto icmp\n");
        let outer = format!("block in\npass out\nanchor kept\nload anchor kept from \"{}\"\n", inner.display());
        bed.load(&outer);
        assert!(bed.client.pings("198.51.100.10"), "(b176)");
        bed.load("block in\npass out\nanchor kept\n");
        bed.control("-F states");
        assert!(bed.client.pings("198.51.100.10"), "loaded again without the anchor, which stays (b176)");
        bed.load("table <tab> { self }\npass in from any to <tab>\n");
        bed.load("table <tab> counters { self }\npass in from any to <tab>\n");
        assert!(bed.client.pings("192.0.2.1"), "(b190)");
        assert!(bed.control("-t tab -T show -v").contains("In/Pass:"), "(b190)");
        bed.load("set limit { states 500, src-nodes 7 }\npass\n");
        let limits = bed.control("-s memory");
        assert!(limits.contains("500") && limits.contains('7'), "(b217) {limits}");
        let bad = bed.write("bad.conf", "set limit states 900\npass in on\n");
        assert!(!bed.pfctl(&format!("-f {}", bad.display())).ok);
        assert_eq!(bed.control("-s memory"), limits, "(b217)");
    }

    #[test]
    fn b185_counters_of_matches() {
        let Some(bed) = Bed::new(
            "match in on int0 proto tcp label m\nblock\npass in on int0 proto tcp to port 80 label p\npass out\n",
        ) else {
            return;
        };
        let _page = page(&bed, &bed.server, 80, "word");
        let seen = bed.inside().0.capture("tcp port 80");
        assert_eq!(bed.fetch(&bed.client, URLS[0]).as_deref(), Some("word"));
        let count = |label: &str| -> Vec<String> {
            let out = bed.control("-s labels");
            let line = out.lines().find(|l| l.starts_with(&format!("{label} "))).unwrap_or_else(|| panic!("{out}"));
            line.split_whitespace().skip(2).map(str::to_owned).collect()
        };
        // The end of the conversation may be on its way still.
        until("every packet is counted (b185)", || {
            let packets = seen.settle().len().to_string();
            (&count("m")[0], &count("p")[0]) == (&packets, &packets)
        });
    }

    /// The guide for a home gateway, from its own text: files are written where it says, below the test's folder;
    /// commands run in the namespace they are marked for.
    #[test]
    fn the_guide_for_linux_works() {
        if !tests::live::possible() {
            return;
        }
        let text = std::fs::read_to_string(tests::project("docs/linux.md")).unwrap();
        let folder = tempfile::TempDir::new().unwrap();
        let (client, gateway, outside) = (Space::new("c"), Space::new("g"), Space::new("o"));
        client.join("c0", &gateway, "enp2s0");
        gateway.join("enp1s0", &outside, "o0");
        client.address("c0", &["192.168.1.10/24", "2001:db8:1::10/64"]);
        client.default_routes(&["192.168.1.1"]);
        gateway.address("enp1s0", &["198.51.100.1/24", "2001:db8:2::1/64"]);
        gateway.default_routes(&["198.51.100.10", "2001:db8:2::10"]);
        outside.address("o0", &["198.51.100.10/24", "2001:db8:2::10/64"]);
        outside.ok("ip -6 route add 2001:db8:1::/64 via 2001:db8:2::1");
        let serve = |on: &Space| on.serve("python3 -m http.server --bind :: 80", "tcp", 80);
        let _servers = (serve(&client), serve(&outside));
        let place = folder.path().display().to_string();
        let bin = program("pfd").parent().unwrap().display().to_string();
        let env = format!("PATH={bin}:$PATH PFD_RUN={place}/run");
        let local =
            |text: &str| text.replace("/etc/", &format!("{place}/etc/")).replace("/run/pf/", &format!("{place}/"));
        let mut running = Vec::new();
        for block in tests::live::guide::blocks(&text) {
            let words: Vec<&str> = block.words.iter().map(String::as_str).collect();
            match words.as_slice() {
                ["sh", "gateway", "background"] => {
                    let line = local(block.text.trim());
                    let socket = if line.starts_with("pfd ") { format!(" -p {place}/control") } else { String::new() };
                    let mut started = gateway.spawn(&format!("env {env} {line}{socket}"));
                    let ready = match line.split(' ').next() {
                        Some("pfd") => format!("{bin}/pfload -p {place}/control -s info"),
                        Some("dnsmasq") => "ss -Hlun sport = :53 | grep -q .".to_owned(),
                        other => panic!("when is {other:?} ready?"),
                    };
                    until(&line, || {
                        assert!(started.runs(), "{line}: it has ended");
                        gateway.run(&ready).ok
                    });
                    running.push(started);
                }
                ["sh", who] => {
                    let space = match *who {
                        "gateway" => &gateway,
                        "client" => &client,
                        "outside" => &outside,
                        _ => panic!("for whom is {words:?}?"),
                    };
                    for line in block.text.lines() {
                        let line = local(line).replace("pfload ", &format!("pfload -p {place}/control "));
                        // Where all is slow, what asks for an answer within seconds is asked again.
                        until(&format!("for the {who}: {line}"), || {
                            let ran = space.run(&format!("export {env}; {line}"));
                            if !ran.ok {
                                eprintln!("{line}\n{}{}", ran.out, ran.err);
                            }
                            ran.ok
                        });
                    }
                }
                [_, file] if file.starts_with("/etc/") => {
                    let path = local(file);
                    std::fs::create_dir_all(std::path::Path::new(&path).parent().unwrap()).unwrap();
                    std::fs::write(&path, &block.text).unwrap();
                }
                _ => {}
            }
        }
        assert_eq!(running.len(), 2, "pfd and the server for names were started");
    }

    #[test]
    fn endurance_in_short() {
        let Some(result) = tests::live::endure::endure(12) else { return };
        assert!(result.complaints().is_empty(), "{:?}\n{result}{:?}", result.complaints(), result.ended);
    }
}
