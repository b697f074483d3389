//! The ICMP errors of pf's recorded stories, byte for byte.

use pfvm::packet::{Packet, PktMeta, addr4, describe};
use pfvm::reply::{Error, LONGEST, error};
use pfvm::rule::{Addr, Af, Direction};

fn unhex(text: &str) -> Vec<u8> {
    (0..text.len() / 2).map(|i| u8::from_str_radix(&text[2 * i..2 * i + 2], 16).unwrap()).collect()
}

/// What an error was made with: type, code, parameter, sender, identification.
fn read(e: &[u8], af: Af) -> Option<Error> {
    let (icmp, from, id) = match af {
        Af::Inet if e[9] == 1 => (&e[20..], addr4(e[12..16].try_into().unwrap()), u16::from_be_bytes([e[4], e[5]])),
        Af::Inet6 if e[6] == 58 => (&e[40..], Addr(e[8..24].try_into().unwrap()), 0),
        _ => return None,
    };
    let word = u32::from_be_bytes(icmp[4..8].try_into().unwrap());
    let quoting = if af == Af::Inet { matches!(icmp[0], 3 | 11) } else { icmp[0] < 128 };
    quoting.then_some(Error { kind: icmp[0], code: icmp[1], param: word, from, id })
}

#[test]
fn errors_are_those_pf_sends() {
    let Some(stories) = tests::stories() else { return };
    let mut compared = 0;
    for story in &stories {
        for (n, step) in story["steps"].as_array().unwrap().iter().enumerate() {
            let Some(hex) = step["pkt_hex"].as_str() else { continue };
            let mut bytes = unhex(hex);
            let af = if bytes[0] >> 4 == 6 { Af::Inet6 } else { Af::Inet };
            for sent in step["emitted"].as_array().into_iter().flatten().filter(|e| e["via"] == "send") {
                let want = unhex(sent["hex"].as_str().unwrap());
                let same = (want[0] >> 4 == 6) == (af == Af::Inet6);
                let Some(e) = read(&want, af).filter(|_| same) else { continue };
                // Packets that were translated or routed before they were answered are not the one at hand.
                let quote = if af == Af::Inet { &want[28..] } else { &want[48..] };
                if !bytes.starts_with(quote) {
                    continue;
                }
                compared += 1;
                let packet = Packet::whole(&mut bytes);
                let desc = describe(&packet, &PktMeta::default(), af, Direction::In, 0).unwrap();
                let mut room = [0; LONGEST];
                let len = error(&packet, &desc, &e, &mut room).expect("pf answers");
                assert_eq!(room[..len], want, "{} step {n}", story["name"]);
            }
        }
    }
    println!("{compared} errors");
    assert!(compared > 100, "{compared}");
}
