//! pfd as the host of a filter: what it takes, what it gives back, and what it bears.
//!
//! Adapters attached and bridged, killed and started again, pulled and plugged in; frames of every kind on both edges.

mod live {
    use tests::live::{Bed, Plan, Space, Wire, packet, until};
    use tests::program;

    /// Everything pfd moves from an interface and back.
    fn picture(space: &Space, iface: &str) -> String {
        let lines = [
            format!("ip -o address show dev {iface} | sed 's/^[0-9]*: //'"),
            format!("ip route show dev {iface}"),
            format!("ip -6 route show dev {iface} | grep -v ^ff00"),
            format!("ip neigh show dev {iface} nud permanent"),
            format!("cat /sys/class/net/{iface}/address /sys/class/net/{iface}/mtu"),
            format!("cat /proc/sys/net/ipv4/conf/{iface}/rp_filter /proc/sys/net/ipv6/conf/{iface}/hop_limit"),
        ];
        // While nobody holds the TAP its routes are the same, marked.
        lines.iter().map(|line| space.run(line).out.replace("linkdown ", "")).collect()
    }

    /// What is special about `ext0` here, so that there is something to lose.
    fn dress(space: &Space) {
        space.ok("ip address add 198.51.100.40/24 dev ext0 label ext0:more");
        space.ok("ip route add 203.0.113.0/24 via 198.51.100.10 dev ext0 metric 7");
        space.ok("ip -6 route add 2001:db8:9::/48 via 2001:db8:2::10 dev ext0");
        space.ok("ip neigh replace 198.51.100.66 lladdr 02:00:00:00:00:66 dev ext0 nud permanent");
        space.ok("ip link set ext0 mtu 1450");
        space.set("net/ipv4/conf/ext0/rp_filter", 2);
        space.set("net/ipv6/conf/ext0/hop_limit", 77);
    }

    #[test]
    fn attaching_is_seen_by_nobody_and_taken_back() {
        let Some(mut bed) = Bed::planned(Plan { unfiltered: true, ..Plan::default() }, "pass\n") else { return };
        dress(&bed.filter);
        let (before, index) = (picture(&bed.filter, "ext0"), bed.filter.ok("cat /sys/class/net/ext0/ifindex"));
        assert!(
            before.contains("ext0:more") && before.contains("203.0.113.0/24") && before.contains("\n77\n"),
            "{before}"
        );
        bed.start();
        assert_eq!(picture(&bed.filter, "ext0"), before, "the host sees what it saw");
        assert_ne!(bed.filter.ok("cat /sys/class/net/ext0/ifindex"), index, "it is another interface");
        let ran = bed.client.run("ping -n -c 5 -i 0.1 -W 30 198.51.100.10");
        assert!(ran.out.contains(" 0% packet loss") && !ran.out.contains("DUP!"), "each frame once: {}", ran.out);
        let told = bed.filter.run("ping -n -c 5 -i 0.1 -W 30 2001:db8:2::10");
        assert!(told.out.contains(" 0% packet loss") && !told.out.contains("DUP!"), "each frame once: {}", told.out);
        // What the host is given meanwhile stays, too.
        bed.filter.ok("ip address add 198.51.100.41/24 dev ext0 && ip address del 198.51.100.40/24 dev ext0");
        let later = picture(&bed.filter, "ext0");
        let mut pfd = bed.pfd.take().unwrap();
        assert!(pfd.ends_by("TERM"), "{}", bed.log());
        assert_eq!(picture(&bed.filter, "ext0"), later);
        assert_eq!(bed.filter.ok("cat /sys/class/net/ext0/ifindex"), index, "it is the adapter again");
        assert_eq!(bed.filter.ok("ip -o link").matches(".pfd").count(), 0);
        assert!(bed.client.pings("198.51.100.10"), "the kernel forwards alone");
        assert!(bed.log().contains("pfd: frames: received "), "it says what moved: {}", bed.log());
        assert!(!bed.socket().exists(), "nobody listens any more");
    }

    /// Kills the filter, as nobody should.
    fn kill(bed: &mut Bed) {
        assert!(bed.pfd.take().unwrap().ends_by("KILL"));
    }

    #[test]
    fn a_filter_that_is_killed_leaves_its_adapters_shut_until_it_is_back_or_recovered() {
        let Some(mut bed) = Bed::new("pass\n") else { return };
        let before = picture(&bed.filter, "ext0");
        assert!(bed.client.pings("198.51.100.10"));
        kill(&mut bed);
        assert!(bed.client.pings_in_vain("198.51.100.10"), "through it");
        assert!(
            bed.filter.pings_in_vain("198.51.100.10") && bed.server.pings_in_vain("198.51.100.1"),
            "from and to it"
        );
        assert_eq!(picture(&bed.filter, "ext0"), before, "the host still has what it had");
        bed.start();
        assert!(bed.client.pings("198.51.100.10"), "it goes on where the last one stood: {}", bed.log());
        kill(&mut bed);
        let said = bed.filter.ok(&bed.pfd_line("--recover ext0"));
        assert_eq!(said, "pfd: given back: ext0\n");
        assert!(bed.server.pings("198.51.100.1") && bed.client.pings_in_vain("192.0.2.1"), "one of two");
        assert_eq!(bed.filter.ok(&bed.pfd_line("--recover")), "pfd: given back: int0\n");
        assert!(bed.client.pings("198.51.100.10"));
        assert_eq!(picture(&bed.filter, "ext0"), before);
        assert_eq!(bed.filter.ok(&bed.pfd_line("--recover")), "pfd: nothing to give back\n");
    }

    #[test]
    fn nothing_gets_in_while_a_filter_is_killed_and_started_again() {
        for plan in [Plan::default(), Plan { bridge: true, ..Plan::default() }] {
            let Some(mut bed) = Bed::planned(plan, "block\n") else { return };
            // The filter's own address answers whatever reaches its stack; nobody need ask who it is.
            let mac = bed.filter.ok("cat /sys/class/net/int0/address");
            bed.client.ok(&format!("ip neigh replace 192.0.2.1 lladdr {} nud permanent dev c0", mac.trim()));
            let mut flood = bed.client.begin("ping -n -i 0.002 -W 1 192.0.2.1");
            for _ in 0..3 {
                kill(&mut bed);
                bed.start();
            }
            until("the last one blocks them", || bed.frames()[2] > 0);
            assert!(flood.runs(), "it asks all the time");
            flood.signal("INT");
            let ran = flood.finish();
            assert!(ran.out.contains(" 0 received"), "{plan:?}: {}", ran.out);
        }
    }

    #[test]
    fn a_filter_that_may_fail_open_does() {
        let Some(mut bed) = Bed::planned(Plan { options: "--fail-open", ..Plan::default() }, "block\n") else { return };
        let before = picture(&bed.filter, "ext0");
        assert!(bed.client.pings_in_vain("198.51.100.10"));
        kill(&mut bed);
        until("its guard opens", || !bed.client.pings_in_vain("198.51.100.10"));
        assert_eq!(picture(&bed.filter, "ext0"), before);
    }

    #[test]
    fn a_bridge_filters_and_is_not_seen() {
        let plan = Plan { bridge: true, ..Plan::default() };
        let Some(mut bed) = Bed::planned(plan, "pass\n") else { return };
        let ran = bed.client.run("ping -n -c 5 -i 0.1 -W 30 192.0.2.20");
        assert!(ran.out.contains(" 0% packet loss") && !ran.out.contains("DUP!"), "{}", ran.out);
        assert!(bed.client.pings("2001:db8:1::20"));
        assert!(bed.client.pings_in_vain("192.0.2.1"), "the bridge's own addresses answer nobody");
        let big = bed.client.run("ping -n -c 1 -W 30 -s 20000 192.0.2.20");
        assert!(big.ok, "fragments: {}", big.out);
        bed.load("block in on int0 proto icmp\npass in on ext0\npass out\n");
        bed.control("-F states");
        assert!(bed.client.pings_in_vain("192.0.2.20") && bed.server.pings("192.0.2.10"), "by side");
        let _served = bed.server.serve("iperf3 -s", "tcp", 5201);
        bed.load("block\npass proto tcp to port 5201\npass inet6 proto icmp6\n");
        let ran = bed.client.run("timeout 60 iperf3 -c 192.0.2.20 -t 1");
        assert!(ran.ok, "whole frames: {}{}", ran.out, ran.err);
        kill(&mut bed);
        assert!(bed.client.pings_in_vain("192.0.2.20") && bed.client.pings_in_vain("192.0.2.1"), "shut");
        assert_eq!(bed.filter.ok(&bed.pfd_line("--recover")), "pfd: given back: ext0, int0\n");
        assert!(bed.client.pings("192.0.2.1"), "the adapters are the host's again");
    }

    /// A frame from the client to the server of a bridge, with tags before the packet: kind and control.
    fn tagged(from: &Wire<'_>, to: &Wire<'_>, tags: &[(u16, u16)], text: &str) -> Vec<u8> {
        let packet = packet(text);
        let kind: u16 = if packet[0] >> 4 == 6 { 0x86dd } else { 0x0800 };
        let mut frame = [to.mac(), from.mac()].concat();
        tags.iter().for_each(|(kind, control)| frame.extend([kind.to_be_bytes(), control.to_be_bytes()].concat()));
        frame.extend(kind.to_be_bytes());
        frame.extend(packet);
        frame
    }

    #[test]
    fn vlans_are_looked_through_in_a_bridge() {
        let plan = Plan { bridge: true, ..Plan::default() };
        let rules =
            "block\npass in on int0 proto udp to port 53\npass out on ext0\nblock return in on int0 proto tcp\n";
        let Some(bed) = Bed::planned(plan, rules) else { return };
        let (near, far) = (Wire::new(&bed.client, "c0"), Wire::new(&bed.server, "s0"));
        let (seen, back) = (far.capture("greater 0"), near.capture("greater 0"));
        let (v4, v6) = ("udp 192.0.2.10:1000 > 192.0.2.20", "udp [2001:db8:1::10]:1000 > [2001:db8:1::20]");
        let stacks: [&[(u16, u16)]; 5] = [
            &[(0x8100, 5)],
            &[(0x8100, 0x6005)],
            &[(0x88a8, 7), (0x8100, 5)],
            &[(0x8100, 7), (0x8100, 0xa005)],
            &[(0x88a8, 1), (0x88a8, 2), (0x8100, 3), (0x8100, 4)],
        ];
        let full = format!("{v4}:53 data {}", "x".repeat(1472));
        let mut passing = vec![tagged(&near, &far, stacks[0], &full)];
        let mut blocked = Vec::new();
        for tags in stacks {
            for ends in [v4, v6] {
                passing.push(tagged(&near, &far, tags, &format!("{ends}:53 data hello")));
                blocked.push(tagged(&near, &far, tags, &format!("{ends}:54 data hello")));
            }
        }
        near.send_frames(&passing);
        near.send_frames(&blocked);
        let refused = tagged(&near, &far, stacks[2], "tcp 192.0.2.10:1000 > 192.0.2.20:80 S seq 100");
        near.send_frames(std::slice::from_ref(&refused));
        until("all that pass come", || passing.iter().all(|frame| seen.frames().contains(frame)));
        let _settled = seen.settle();
        for frame in &passing {
            let times = seen.frames().iter().filter(|f| *f == frame).count();
            assert_eq!(times, 1, "once, with its tags: {:02x?}", &frame[..22]);
        }
        for frame in blocked.iter().chain([&refused]) {
            assert!(!seen.frames().contains(frame), "{:02x?}", &frame[..22]);
        }
        // The refusal goes back into the VLAN it came from.
        until("a refusal comes", || {
            let reset =
                |f: &Vec<u8>| f[..6] == near.mac() && f[12..22] == refused[12..22] && f.get(22 + 33) == Some(&0x14);
            back.frames().iter().any(reset)
        });
        // An answer is passed by its state.
        let answer = tagged(&far, &near, stacks[2], "udp 192.0.2.20:53 > 192.0.2.10:1000 data again");
        far.send_frames(std::slice::from_ref(&answer));
        until("an answer comes", || back.frames().contains(&answer));
        let states = bed.control("-s states");
        assert!(states.contains("192.0.2.10:1000") && states.contains("2001:db8:1::10[1000]"), "{states}");
    }

    #[test]
    fn vlans_nobody_has_end_at_an_attached_adapter() {
        let Some(bed) = Bed::new("pass\n") else { return };
        let (near, gate) = bed.inside();
        let back = near.capture("greater 0");
        let ping = |control: u16, id: u16| {
            let text = format!("icmp 192.0.2.10 > 192.0.2.1 echoreq id {id} seq 1");
            tagged(&near, &gate, &[(0x8100, control)], &text)
        };
        // VLAN 0 is a priority and no VLAN.
        near.send_frames(&[ping(5, 501), ping(0x6000, 500)]);
        let answered = |id: u16| {
            back.packets()
                .iter()
                .any(|p| p.field("src").as_deref() == Some("192.0.2.1") && p.field("id") == Some(id.to_string()))
        };
        until("the priority is looked through", || answered(500));
        assert!(!answered(501));
        let _counts = bed.frames();
        assert!(bed.log().contains("vlan 1"), "{}", bed.log());
    }

    #[test]
    fn frames_that_are_not_ip_pass_by_name_only() {
        let frame = |from: &Wire<'_>, kind: u16| {
            let mut frame = [vec![1, 0x80, 0xc2, 0, 0, 0x0e], from.mac(), kind.to_be_bytes().to_vec()].concat();
            frame.resize(60, 7);
            frame
        };
        for (options, arp, passing) in
            [("", true, vec![]), ("--no-arp --pass-ethertype lldp,0x88b7", false, vec![0x88cc, 0x88b7])]
        {
            let Some(bed) = Bed::planned(Plan { bridge: true, options, ..Plan::default() }, "pass\n") else { return };
            let (near, far) = (Wire::new(&bed.client, "c0"), Wire::new(&bed.server, "s0"));
            let seen = far.capture("greater 0");
            let kinds = [0x88cc, 0x88b7, 0x8863, 0x0027, 0x9000];
            near.send_frames(&kinds.map(|kind| frame(&near, kind)));
            assert_eq!(bed.client.run("ping -n -c 1 -W 3 192.0.2.20").ok, arp, "{options}");
            let _settled = seen.settle();
            let came = kinds.iter().filter(|kind| seen.frames().contains(&frame(&near, **kind)));
            assert_eq!(came.copied().collect::<Vec<_>>(), passing, "{options}");
        }
    }

    /// Numbers that look like chance and are the same every time.
    struct Chance(u64);

    impl Chance {
        fn next(&mut self, below: usize) -> usize {
            self.0 ^= self.0 << 13;
            self.0 ^= self.0 >> 7;
            self.0 ^= self.0 << 17;
            usize::try_from(self.0 >> 33).unwrap() % below
        }
    }

    /// Frames of any length and shape: noise, packets with bytes changed, packets cut off.
    fn shapes(chance: &mut Chance, from: &[u8], to: &[u8], count: usize) -> Vec<Vec<u8>> {
        let good = [
            "tcp 192.0.2.10:1000 > 198.51.100.10:80 S seq 100",
            "udp 192.0.2.10:1000 > 198.51.100.10:53 data hello",
            "icmp 192.0.2.10 > 198.51.100.10 echoreq id 7",
            "udp [2001:db8:1::10]:1000 > [2001:db8:2::10]:53 data hello",
            "tcp [2001:db8:1::10]:1000 > [2001:db8:2::10]:80 A seq 5 ack 9 data word",
        ]
        .map(packet);
        let one = |chance: &mut Chance| {
            let mut frame = [to, from].concat();
            match chance.next(4) {
                0 => {
                    let len = 2 + chance.next(1500);
                    frame.extend((0..len).map(|_| u8::try_from(chance.next(256)).unwrap()));
                }
                1 => frame.extend(chance.next(65536).to_be_bytes()[6..].to_vec()),
                _ => {
                    let mut packet = good[chance.next(good.len())].clone();
                    frame.extend(if packet[0] >> 4 == 6 { [0x86, 0xdd] } else { [8, 0] });
                    for _ in 0..=chance.next(6) {
                        let at = chance.next(packet.len());
                        packet[at] = u8::try_from(chance.next(256)).unwrap();
                    }
                    packet.truncate(chance.next(packet.len() + 40));
                    frame.extend(packet);
                }
            }
            frame
        };
        (0..count).map(|_| one(chance)).collect()
    }

    #[test]
    fn frames_of_any_shape_on_both_edges_have_one_fate() {
        let Some(bed) = Bed::new("pass\nmatch scrub (reassemble tcp)\n") else { return };
        let (near, gate) = bed.inside();
        let mut chance = Chance(0x9e37_79b9_7f4a_7c15);
        let (mac, host) = (near.mac(), gate.mac());
        let (inward, outward) = (shapes(&mut chance, &mac, &host, 3000), shapes(&mut chance, &host, &mac, 3000));
        // So many at a time as wait in any queue, however late pfd comes to it.
        for (inward, outward) in inward.chunks(200).zip(outward.chunks(200)) {
            let before = bed.frames()[0];
            near.send_frames(inward);
            gate.send_frames(outward);
            until("all are counted", || bed.frames()[0] >= before + 400);
        }
        assert!(bed.client.pings("198.51.100.10"), "it goes on: {}", bed.log());
        let [received, passed, dropped, held, _] = bed.frames();
        assert_eq!(received, passed + dropped + held);
        assert!(passed > 100 && dropped > 1000, "{}", bed.log());
    }

    #[test]
    fn adapters_that_are_pulled_are_taken_again() {
        let Some(mut bed) = Bed::new("block\npass in on int0\npass out on ext0\n") else { return };
        let drawer = Space::new("d");
        for _ in 0..2 {
            let turns = bed.log().matches("its adapter is back").count();
            bed.filter.ok(&format!("ip link set ext0.pfd netns {}", drawer.name()));
            until("it is missed", || bed.log().matches("its adapter is gone").count() > turns);
            assert!(bed.client.pings_in_vain("198.51.100.10"));
            drawer.ok(&format!("ip link set ext0.pfd netns {}", bed.filter.name()));
            until("it is taken", || bed.log().matches("its adapter is back").count() > turns);
            until("traffic goes on", || !bed.client.pings_in_vain("198.51.100.10"));
            assert!(bed.server.pings_in_vain("198.51.100.1"), "the rules hold");
        }
        // Away and back before anybody looks.
        let both = format!(
            "ip link set ext0.pfd netns {} && ip -n {} link set ext0.pfd netns {} && ip link set ext0.pfd up",
            drawer.name(),
            drawer.name(),
            bed.filter.name()
        );
        let _either = bed.filter.run(&both);
        until("it is taken", || bed.log().matches("its adapter is back").count() > 2);
        until("traffic goes on", || !bed.client.pings_in_vain("198.51.100.10"));
        assert!(bed.server.pings_in_vain("198.51.100.1"), "the rules hold");
        assert!(bed.pfd.as_mut().unwrap().ends_by("TERM"));
        assert!(bed.server.pings("198.51.100.1"), "given back: {}", bed.log());
    }

    #[test]
    fn a_tap_that_is_removed_stops_its_port_and_nothing_else() {
        let Some(mut bed) = Bed::new("pass\n") else { return };
        bed.filter.ok("ip link del ext0");
        until("it is told", || bed.log().contains("nothing passes there until pfd is started again"));
        assert!(bed.client.pings("192.0.2.1"), "the other port goes on");
        assert!(bed.server.pings_in_vain("198.51.100.1"));
        assert!(bed.pfd.as_mut().unwrap().ends_by("TERM"));
        assert!(bed.server.pings("198.51.100.1"), "its adapter is given back with what it had: {}", bed.log());
        assert!(bed.client.pings("198.51.100.10"));
    }

    #[test]
    fn what_is_not_fetched_in_time_is_lost_and_counted() {
        let Some(bed) = Bed::new("pass\n") else { return };
        assert!(bed.client.pings("198.51.100.10"), "the neighbours know each other");
        let pfd = bed.pfd.as_ref().unwrap();
        pfd.signal("STOP");
        let () = bed.client.within(|| {
            let socket = std::net::UdpSocket::bind("192.0.2.10:0").unwrap();
            let datagram = vec![7; 60_000];
            // Twice what the ring of a packet socket holds, with the kernel's share.
            for _ in 0..3000 {
                let _full = socket.send_to(&datagram, "198.51.100.10:9");
            }
        });
        pfd.signal("CONT");
        until("it goes on", || bed.client.pings("198.51.100.10"));
        until("it is counted", || {
            let [received, passed, dropped, held, _] = bed.frames();
            assert_eq!(received, passed + dropped + held);
            bed.log().lines().rev().find(|l| l.contains("frames: received")).is_some_and(|l| l.contains("not fetched "))
        });
        assert!(!bed.log().contains("not fetched 0"), "{}", bed.log());
    }

    #[test]
    fn changes_the_kernel_had_no_room_to_tell_are_asked_for() {
        use std::fmt::Write as _;
        let rules = "block\npass in on int0 inet proto icmp to (int0)\n";
        let Some(mut bed) = Bed::new(rules) else { return };
        assert!(bed.client.pings("192.0.2.1") && bed.client.pings_in_vain("192.0.2.50"));
        let mut batch = String::new();
        for n in 0..8000 {
            let (a, b) = (n / 256, n % 256);
            let _ =
                writeln!(batch, "neigh replace 192.0.2.99 lladdr 02:00:00:00:{a:02x}:{b:02x} dev int0 nud permanent");
        }
        let batch = bed.write("changes", &batch);
        let pfd = bed.pfd.as_ref().unwrap();
        pfd.signal("STOP");
        bed.filter.ok(&format!("ip -batch {}", batch.display()));
        bed.filter.ok("ip address add 192.0.2.50/24 dev int0");
        pfd.signal("CONT");
        until("what was told in vain is known", || !bed.client.pings_in_vain("192.0.2.50"));
        assert!(bed.pfd.as_mut().unwrap().ends_by("TERM"), "{}", bed.log());
    }

    #[test]
    fn signals_load_show_and_end() {
        let Some(mut bed) = Bed::new("pass\n") else { return };
        assert!(bed.client.pings("198.51.100.10"));
        let _file = bed.write("pf.conf", "block\npass in on int0 proto tcp\n");
        bed.pfd.as_ref().unwrap().signal("HUP");
        until("the rules are loaded", || bed.log().contains("pf.conf: loaded, generation 2"));
        bed.control("-F states");
        assert!(bed.client.pings_in_vain("198.51.100.10"));
        let rules = bed.control("-s rules");
        let _file = bed.write("pf.conf", "pass\nblock frum any\n");
        bed.pfd.as_ref().unwrap().signal("HUP");
        until("the mistake is told", || bed.log().contains("the rules in force stay"));
        let log = bed.log();
        assert!(log.contains("pf.conf:2") && log.contains("frum"), "with its place: {log}");
        assert!(!log.contains('\x1b'), "a file gets no colours: {log:?}");
        assert_eq!(bed.control("-s rules"), rules);
        assert!(bed.pfd.as_mut().unwrap().ends_by("INT"));
        assert!(bed.client.pings("198.51.100.10"), "{}", bed.log());
    }

    #[test]
    fn addresses_that_change_are_followed() {
        let rules = "block\npass in on int0 inet proto icmp to (int0)\npass out\n";
        let Some(bed) = Bed::new(rules) else { return };
        assert!(bed.client.pings("192.0.2.1") && bed.client.pings_in_vain("192.0.2.50"));
        bed.filter.ok("ip address add 192.0.2.50/24 dev int0");
        until("the new address is known", || !bed.client.pings_in_vain("192.0.2.50"));
        bed.filter.ok("ip address del 192.0.2.50/24 dev int0 && ip address add 192.0.2.51/24 dev ext0");
        bed.control("-F states");
        assert!(bed.client.pings_in_vain("192.0.2.51"), "it is another interface's");
        assert!(bed.client.pings("192.0.2.1"));
    }

    #[test]
    fn a_service_on_the_loopback_is_reached_where_the_kernel_lets_it() {
        let rules = "pass\npass in on int0 inet proto tcp to 192.0.2.1 port 80 rdr-to 127.0.0.1 port 8000\n";
        let Some(bed) = Bed::new(rules) else { return };
        assert!(bed.log().contains("PF2002") && bed.log().contains("route_localnet"), "{}", bed.log());
        let folder = bed.folder().join("www");
        std::fs::create_dir_all(&folder).unwrap();
        std::fs::write(folder.join("index.html"), "word").unwrap();
        let line = format!("python3 -m http.server --bind 127.0.0.1 --directory {} 8000", folder.display());
        let _page = bed.filter.serve(&line, "tcp", 8000);
        assert!(bed.fetches_in_vain(&bed.client, "http://192.0.2.1/"), "the kernel drops what is for 127.0.0.1");
        bed.filter.set("net/ipv4/conf/int0/route_localnet", 1);
        assert_eq!(bed.fetch(&bed.client, "http://192.0.2.1/").as_deref(), Some("word"));
    }

    #[test]
    fn copies_go_where_a_rule_sends_them() {
        let rules = "pass\npass in on int0 inet proto icmp dup-to 198.51.100.20\n";
        let Some(bed) = Bed::new(rules) else { return };
        bed.server.ok("ip address add 198.51.100.20/24 dev s0");
        let seen = bed.outside().0.capture("icmp[0] = 8 and dst host 198.51.100.10");
        assert!(bed.client.pings("198.51.100.10"));
        assert_eq!(seen.wait(2).len(), 2, "the packet and its copy");
    }

    #[test]
    fn what_this_host_cannot_do_is_refused_with_its_place() {
        let Some(mut bed) = Bed::new("pass\n") else { return };
        let rules = [
            ("pass in inet proto tcp to port 80 divert-to 127.0.0.1 port 8080\n", "PF2004"),
            ("pass out inet proto tcp divert-reply\n", "PF2004"),
            ("pass divert-packet port 700\n", "PF2004"),
            ("pass out proto tcp user root\n", "PF2001"),
            ("pass from route \"x\"\n", "PF2005"),
        ];
        for (rule, code) in rules {
            let file = bed.write("cannot.conf", &format!("block\n{rule}"));
            let ran = bed.pfctl(&format!("-f {}", file.display()));
            assert!(!ran.ok && ran.err.contains(code) && ran.err.contains("cannot.conf:2"), "{rule}{}", ran.err);
        }
        assert_eq!(bed.control("-s rules").trim(), "pass all flags S/SA");
        assert!(bed.pfd.as_mut().unwrap().ends_by("TERM"));
        // pfd itself says so, too, before it touches an adapter.
        let file = bed.write("pf.conf", "block\npass divert-packet port 700\n");
        let ran = bed.filter.run(&bed.pfd_line(&format!("--rules {} --attach int0", file.display())));
        assert!(!ran.ok && ran.err.contains("PF2004") && ran.err.contains("pf.conf:2"), "{}", ran.err);
        assert!(!ran.err.contains('\x1b'), "{:?}", ran.err);
        assert!(bed.client.pings("198.51.100.10"));
    }

    #[test]
    fn mistakes_of_whoever_starts_it_are_told_before_anything_is_touched() {
        let Some(bed) = Bed::new("pass\n") else { return };
        let file = bed.write("some.conf", "pass\n");
        let start = |words: &str| {
            let line = bed.pfd_line(&format!("-p {}/other --rules {} {words}", bed.folder().display(), file.display()));
            let ran = bed.filter.run(&format!("timeout 60 {line}"));
            assert!(!ran.ok, "{words}");
            ran.err
        };
        assert!(start("--attach nothing0").contains("there is no interface nothing0"));
        assert!(start("--attach lo").contains("not an Ethernet interface"));
        let busy = start("--attach int0");
        assert!(busy.contains("int0 is in use by another pfd (process "), "{busy}");
        bed.filter
            .ok("ip link add v0 type veth peer name v1 && ip link add br0 type bridge && ip link set v0 master br0");
        let part = start("--attach v0");
        assert!(part.contains("v0 is part of br0"), "{part}");
        assert!(program("pfd").exists() && bed.client.pings("198.51.100.10"));
    }
}
