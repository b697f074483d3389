//! Frames that leave the driver by another way than they came: to neighbours it finds itself, finished in software.

use ndismock::world::Event;
use pfndis::frames::Supply;
use pfndis::gateway::Boot;
use pfvm::packet::DropReason;
use tests::desk::{image, tcp, udp, v4};
use tests::ndis::{Driven, Host, ether};

const SUPPLY: Supply = Supply { small: 64, large: 2 };
const OUTSIDE: [u8; 6] = [2, 0, 0, 0, 0, 1];
const INSIDE: [u8; 6] = [2, 0, 0, 0, 0, 2];
const NEXT: [u8; 6] = [2, 0, 0, 0, 7, 7];

fn host(rules: &str) -> Host {
    Host::running(Boot::Block, SUPPLY, &image("", rules))
}

fn sent(events: &[Event]) -> Vec<Vec<u8>> {
    events.iter().filter_map(|e| if let Event::Sent(_, _, f) = e { Some(f.clone()) } else { None }).flatten().collect()
}

/// 192.0.2.77's answer to a question of `em0`.
fn reply() -> Vec<u8> {
    let body = [&[0, 1, 8, 0, 6, 4, 0, 2][..], &NEXT, &[192, 0, 2, 77], &OUTSIDE, &[192, 0, 2, 1]].concat();
    let mut frame = [&OUTSIDE[..], &NEXT, &[8, 6], &body].concat();
    frame.resize(60, 0);
    frame
}

#[test]
fn route_to_asks_who_the_next_hop_is_and_sends_what_waited() {
    let mut host = host("pass in on em1 inet proto udp route-to 192.0.2.77\npass out\n");
    let packet = |port| ether(INSIDE, &udp(v4(10, 0, 0, 5), port, v4(198, 51, 100, 7), 53));
    let asked = sent(&host.comes(1, &packet(4000), false));
    let body = [&[0, 1, 8, 0, 6, 4, 0, 1][..], &OUTSIDE, &[192, 0, 2, 1], &[0; 6], &[192, 0, 2, 77]].concat();
    assert_eq!(asked, [[&[0xff; 6][..], &OUTSIDE, &[8, 6], &body].concat()]);
    assert_eq!(sent(&host.comes(1, &packet(4001), true)), [] as [Vec<u8>; 0], "it waits, and asks once");
    let events = host.comes(0, &reply(), false);
    let went = sent(&events);
    assert_eq!(
        went.iter().map(|f| (&f[..6], &f[6..12], f[22])).collect::<Vec<_>>(),
        [(&NEXT[..], &OUTSIDE[..], 63); 2]
    );
    assert!(events.iter().any(|e| matches!(e, Event::Indicated(..))), "the answer goes up as well");
    // From now on the hop is known.
    assert_eq!(sent(&host.comes(1, &packet(4002), false))[0][..6], NEXT);
    host.settle();
    host.end();
}

#[test]
fn what_waits_in_vain_goes() {
    let mut host = host("pass in on em1 inet proto udp route-to 192.0.2.77\npass out\n");
    host.comes(1, &ether(INSIDE, &udp(v4(10, 0, 0, 5), 4000, v4(198, 51, 100, 7), 53)), false);
    let tick = |host: &mut Host, ms| {
        host.stack.driver.core.with(&host.stack.driver.os, |core| core.judge.filter.platform.ms += ms);
        host.stack.driver.tick();
        sent(&host.stack.os().events())
    };
    assert_eq!(tick(&mut host, 1000).len(), 1, "it is asked for again");
    assert!(tick(&mut host, 2000).is_empty());
    assert!(sent(&host.comes(0, &reply(), false)).is_empty());
    host.settle();
    host.end();
}

#[test]
fn what_finds_no_place_to_wait_is_counted_as_memory() {
    let mut host = host("pass out on em0 inet proto udp no state set delay 100\n");
    for port in 4000..4035 {
        host.goes(0, &ether(NEXT, &udp(v4(192, 0, 2, 1), port, v4(198, 51, 100, 7), 53)), vec![]);
    }
    host.stack.driver.tick();
    let counted = |host: &Host| {
        host.stack.driver.gathered(|gateway| gateway.filter.engine.counters.of_reason(DropReason::Memory))
    };
    // Half of the copies may wait.
    assert_eq!(counted(&host), 3);
    host.settle();
    host.end();
}

#[test]
fn a_large_send_that_goes_elsewhere_goes_in_segments() {
    let mut host = host("pass out on em1 inet proto tcp flags any route-to 192.0.2.77\npass\n");
    let mut packet = tcp(v4(10, 0, 0, 1), 4000, v4(10, 0, 0, 9), 80, 0x18, 1, 1);
    packet.extend((0..3000).map(|i| i as u8));
    packet[2..4].fill(0);
    // Large send v2, a header at 34, 1000 bytes a segment.
    let info = || vec![(2, 1000 | 34 << 20 | 1 << 30), (8, 5)];
    host.goes(1, &ether([2, 0, 0, 0, 5, 5], &packet), info());
    host.comes(0, &reply(), false);
    host.settle();
    let went = sent(&host.goes(1, &ether([2, 0, 0, 0, 5, 5], &packet), info()));
    assert_eq!(went.len(), 3);
    for (n, frame) in went.iter().enumerate() {
        let sliced = etherparse::SlicedPacket::from_ethernet(frame).unwrap();
        let Some(etherparse::NetSlice::Ipv4(ip)) = sliced.net else { panic!("{frame:?}") };
        assert_eq!(ip.header().header_checksum(), ip.header().to_header().calc_header_checksum());
        let Some(etherparse::TransportSlice::Tcp(t)) = sliced.transport else { panic!("{frame:?}") };
        assert_eq!(t.checksum(), t.calc_checksum_ipv4(ip.header().source(), ip.header().destination()).unwrap());
        assert_eq!((t.sequence_number(), t.payload().len(), t.psh()), (1 + 1000 * n as u32, 1000, n == 2));
        assert_eq!(frame[..6], NEXT);
    }
    host.settle();
    host.end();
}
