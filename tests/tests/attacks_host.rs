//! Attacks on what surrounds the filter, each named by its number: images, requests, loads under way, logs, time, rights.
//! (A31, A32 stand in `driver/mock/tests`, A33 in `low_memory`, A35 in `docs/testing.md`.) What is asked each time: are the rules
//! that were in force still in force, does anything get out that must not.

use pfdriver::filter::{By, How, Loading, Unit};
use pfdriver::lock::Lock;
use pfvm::api::{After, Code, MAX_MESSAGE, Request, Rights, decode, read_reply};
use pfvm::engine::{Carried, Seen, Verdict};
use pfvm::image::Image;
use pfvm::image::encode::reseal;
use pfvm::packet::{Packet, PktMeta};
use pfvm::rule::{Af, Direction};
use pfvm::verify::Program;
use tests::desk::{Desk, image, udp, v4};
use tests::fuzz::api::samples;

/// A datagram from outside to a port of the host.
fn datagram(port: u16) -> Vec<u8> {
    udp(v4(192, 0, 2, 9), 4000, v4(192, 0, 2, 1), port)
}

fn verdict(desk: &mut Desk, port: u16) -> Verdict {
    desk.comes(1, &datagram(port)).verdict
}

/// Whoever can write an image cannot make more of it than rules: what does not verify leaves the old rules, what does
/// verify decides about packets and ends.
#[test]
fn a28_a_tampered_image_is_refused_or_only_rules() {
    const RULES: &str = "table <t> { 10.0.0.0/8, !10.1.0.0/16 }\nblock\npass in proto udp to port { 53, 100:200 } tag A\n\
                         match in from <t> nat-to 192.0.2.1\nanchor \"a\" in {\n block proto tcp\n}\n";
    let mut desk = Desk::default();
    let good = image("", RULES);
    desk.commit("", &good, After::Keep, 0).unwrap();
    let (mut refused, mut taken) = (0, 0);
    for at in (40..good.len()).step_by(3) {
        for flip in [0x01, 0x80] {
            let mut bad = good.clone();
            bad[at] ^= flip;
            // A forger writes the digest, too.
            reseal(&mut bad);
            match desk.commit("", &bad, After::Keep, 0) {
                Err((code, why)) => {
                    assert!(
                        matches!(code, Code::Image | Code::Invalid | Code::NoMemory | Code::TooLong),
                        "{at}: {why}"
                    );
                    refused += 1;
                    assert_eq!(
                        (verdict(&mut desk, 53), verdict(&mut desk, 54)),
                        (Verdict::Pass, Verdict::Drop),
                        "{at}"
                    );
                }
                Ok(_) => {
                    taken += 1;
                    for port in [0, 53, 150, 65_535] {
                        verdict(&mut desk, port);
                    }
                    desk.commit("", &good, After::Keep, 0).unwrap();
                }
            }
        }
    }
    assert!(refused > 100 && taken > 0, "{refused} refused, {taken} taken");
    assert_eq!((verdict(&mut desk, 53), verdict(&mut desk, 54)), (Verdict::Pass, Verdict::Drop));
}

/// A reply says how long it is, and all of that is written for it: nothing of the filter's memory or of an earlier answer gets
/// out, whatever room the caller offers.
#[test]
fn a29_replies_end_where_they_say() {
    let replies = |stale: u8| {
        let mut all = Vec::new();
        for size in [0, 1, 2, 7, 16, 63, 300, 4096, MAX_MESSAGE] {
            let mut desk = Desk::default();
            desk.load("", "table <t> persist counters { 10.0.0.0/8 }\npass in log (all) label \"l\"\n").unwrap();
            for port in 1..40 {
                verdict(&mut desk, port);
            }
            for message in samples() {
                let request = format!("{:?}", decode::<Request<'_>>(&message).unwrap());
                let mut whole = vec![stale; MAX_MESSAGE];
                let len = desk.control.handle(desk.client, &message, &mut whole[..size], &desk.filter);
                assert!(len <= size, "{request} says {len} of {size}");
                assert!(whole[size..].iter().all(|b| *b == stale), "{request} writes behind {size}");
                assert!(len == 0 || read_reply(&whole[..len]).is_ok(), "{request}");
                all.push((request, whole[..len].to_vec()));
            }
        }
        all
    };
    for (one, other) in replies(0xa5).iter().zip(&replies(0x5a)) {
        assert_eq!(one, other, "bytes nobody wrote");
    }
}

/// An image as a filter takes it.
fn loading(image: &[u8]) -> Loading {
    let program = Program::verify(&Image::parse(image).unwrap(), pfc::compile::BUDGET).unwrap();
    let unit = Unit { path: Vec::new(), image: image.to_vec(), generation: 0, inserted: 0, by: By::default() };
    Loading { program, unit }
}

/// Rules are put in force again and again while packets of a state go through: each packet meets one set of rules, the state
/// outlives the rules that made it, and rules nobody refers to are freed.
#[test]
fn a30_states_outlive_rules_that_are_swapped_under_packets() {
    let mut desk = Desk::default();
    let (open, shut) = (image("", "block\npass in proto udp to port 53\n"), image("", "block\n"));
    desk.commit("", &open, After::Keep, 0).unwrap();
    assert_eq!(verdict(&mut desk, 53), Verdict::Pass);
    let filter = &desk.filter;
    let packet = |port| {
        let bytes = datagram(port);
        let mut window = [&[0; Packet::HEADROOM][..], &bytes].concat();
        filter.with(|f| {
            let mut packet = Packet::new(&mut window, Packet::HEADROOM, &[]).unwrap();
            let seen = Seen { af: Af::Inet, dir: Direction::In, iface: 1, forwarded: false };
            f.process(&mut packet, &PktMeta::default(), seen, Carried::default(), &mut []).verdict
        })
    };
    let rules = || filter.with(|f| f.engine.rules.iter().count());
    let most = std::thread::scope(|scope| {
        let sender = scope.spawn(|| (0..2000).all(|_| packet(53) == Verdict::Pass && packet(54) == Verdict::Drop));
        let mut most = 0;
        for round in 0..60 {
            let one = loading(if round % 2 == 0 { &shut } else { &open });
            filter.with(|f| f.load(vec![one], How::default()).map(|_| ())).unwrap();
            most = most.max(rules());
        }
        assert!(sender.join().unwrap(), "a packet met neither the old rules nor the new");
        most
    });
    assert!(most <= 8, "{most} rules are kept for one state");
}

/// Time that jumps, as after a long sleep, or back: states end, none lives for ever, packets are decided all the same.
#[test]
fn a37_time_that_jumps_ends_states_and_makes_none_immortal() {
    let mut desk = Desk::default();
    desk.load("", "set timeout { udp.first 60, interval 10 }\nblock\npass in proto udp to port 53\n").unwrap();
    let states = |desk: &Desk| desk.filter.with(|f| f.engine.table.iter().count());
    let jump = |desk: &Desk, ms: i64| desk.filter.with(|f| f.platform.ms = f.platform.ms.saturating_add_signed(ms));
    const DAY: i64 = 24 * 3600 * 1000;
    for ms in [DAY, 400 * DAY] {
        assert_eq!((verdict(&mut desk, 53), states(&desk)), (Verdict::Pass, 1));
        jump(&desk, ms);
        desk.pass(1);
        assert_eq!(states(&desk), 0, "after {ms} ms asleep");
    }
    assert_eq!((verdict(&mut desk, 53), states(&desk)), (Verdict::Pass, 1));
    jump(&desk, -600_000);
    assert_eq!((verdict(&mut desk, 53), verdict(&mut desk, 54)), (Verdict::Pass, Verdict::Drop));
    desk.pass(61);
    assert_eq!(states(&desk), 0, "a packet after the jump says when the state was last used");
}

/// Who has no rights learns nothing, not even how much there is to learn: every request has the one answer.
#[test]
fn a38_who_may_not_ask_learns_nothing() {
    let mut desk = Desk::default();
    desk.load("", "pass in log (all)\n").unwrap();
    for port in 1..40 {
        verdict(&mut desk, port);
    }
    let nobody = desk.control.open(Rights::None, By::default()).unwrap();
    let mut answers = std::collections::BTreeSet::new();
    for message in samples() {
        let reply = desk.send(nobody, &message).to_vec();
        assert!(read_reply(&reply).unwrap().is_err(), "{message:02x?}");
        answers.insert(reply);
    }
    assert!(answers.len() <= 2, "a greeting is denied, all else wants a greeting first: {answers:02x?}");
    let reader = desk.greet(Rights::Read);
    let denied = |desk: &mut Desk, message: &[u8]| {
        read_reply(desk.send(reader, message)).unwrap().map(|_| ()).map_err(|no| no.code) == Err(Code::Denied)
    };
    for message in samples().iter().skip(1) {
        let writes = decode::<Request<'_>>(message).unwrap().needs() == Rights::Write;
        assert_eq!(denied(&mut desk, message), writes, "{message:02x?}");
    }
}
