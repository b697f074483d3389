//! Random rules and random packets: reference, straight code and classified code decide alike.

use arbitrary::Unstructured;
use pfc::lower::Passes;
use pfvm::verify::Body;
use tests::decide::{machine, ready, reference};
use tests::fuzz::Numbers;
use tests::rulesets::{config, packet};

const FUEL: u32 = u32::MAX;
const PACKETS: usize = 10;

/// How many packets to decide: `PF_CASES`, else ten thousand.
fn cases() -> usize {
    std::env::var("PF_CASES").ok().and_then(|n| n.parse().ok()).unwrap_or(10_000)
}

fn bytes(numbers: &mut Numbers, len: usize) -> Vec<u8> {
    (0..len).map(|_| numbers.byte()).collect()
}

/// Every pass off alone, and all of them together.
fn variants() -> Vec<(&'static str, Passes)> {
    let all = Passes { shortest: 2, ..Passes::ALL };
    vec![
        ("straight", Passes::NONE),
        ("all", all),
        ("without collect", Passes { collect: false, ..all }),
        ("without shadow", Passes { shadow: false, ..all }),
        ("without rows", Passes { rows: false, ..all }),
        ("as shipped", Passes::ALL),
    ]
}

#[test]
fn reference_and_machine_agree() {
    let seed = std::env::var("PF_SEED").ok().and_then(|n| n.parse().ok()).unwrap_or(1);
    let mut numbers = Numbers(seed);
    for case in 0..cases() / PACKETS {
        let rules = bytes(&mut numbers, 3000);
        let config = config(&mut Unstructured::new(&rules)).expect("bytes make rules");
        let programs: Vec<_> = variants()
            .into_iter()
            .map(|(name, passes)| (name, ready(&config, passes, u32::MAX).unwrap_or_else(|e| panic!("{name}: {e}"))))
            .collect();
        for _ in 0..PACKETS {
            let bytes = bytes(&mut numbers, 96);
            let (desc, around) = packet(&mut Unstructured::new(&bytes)).expect("bytes make packets");
            let right = reference(&config, &desc, &around);
            for (name, program) in &programs {
                for body in [Body::Code, Body::Straight] {
                    let found = machine(program, &desc, &around, body, FUEL);
                    assert!(
                        found == right,
                        "case {case}, {name}, {body:?}\n{:#?}\n{desc:?}\n{around:?}\nfound {found:?}\nright {right:?}",
                        config.main,
                    );
                }
            }
        }
    }
}
