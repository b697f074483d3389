//! The last good rules: what a host keeps of the rules in force, and what it gets back from it.

use pfdriver::filter::By;
use pfdriver::good::{self, Unfit};
use pfvm::api::{After, Request};
use tests::desk::{Desk, image};

const MAIN: &str =
    "table <bad> { 198.51.100.0/24 }\nblock from <bad>\npass in on em0 proto tcp to port 22\nanchor \"web\"\n";
const WEB: &str = "pass in proto tcp to port 80\n";

/// A desk with a main ruleset, and an anchor loaded by itself.
fn loaded() -> Desk {
    let mut desk = Desk::default();
    desk.load("", MAIN).unwrap();
    desk.load("web", WEB).unwrap();
    desk
}

fn kept(desk: &Desk) -> Vec<u8> {
    good::collect(&desk.filter).unwrap().expect("nothing waits for a confirmation").bytes
}

/// Path, image and generation of what is in force.
fn units(desk: &Desk) -> Vec<(Vec<u8>, Vec<u8>)> {
    let f = desk.filter.0.lock().unwrap();
    f.units.iter().map(|u| (u.path.clone(), u.image.clone())).collect()
}

fn load(desk: &Desk, bytes: &[u8]) -> Result<u64, Unfit> {
    good::load(&desk.filter, bytes, 4096)
}

#[test]
fn what_was_kept_is_in_force_again() {
    let before = loaded();
    let bytes = kept(&before);
    let after = Desk::default();
    assert_eq!(load(&after, &bytes), Ok(1));
    assert_eq!(units(&after), units(&before));
    assert_eq!(units(&after)[0], (Vec::new(), image("", MAIN)));
    assert_eq!(kept(&after), bytes, "kept again it is the same");
    let now = good::now(&after.filter);
    assert_eq!((now.generation, now.by, now.waits), (1, By::default(), false));
    assert_eq!(now.digest[..], image("", MAIN)[16..48]);
    assert_eq!(good::now(&before.filter).by, By { uid: 1000, pid: 7 });
}

#[test]
fn what_waits_for_its_confirmation_is_not_kept() {
    let mut desk = loaded();
    let generation = desk.commit("", &image("", "pass all\n"), After::Keep, 60).unwrap();
    assert!(good::collect(&desk.filter).unwrap().is_none());
    desk.change(&Request::Confirm { generation }).unwrap();
    assert!(good::collect(&desk.filter).unwrap().is_some());
}

#[test]
fn whatever_is_damaged_gives_no_rules() {
    let bytes = kept(&loaded());
    let desk = Desk::default();
    for at in 0..bytes.len() {
        let mut broken = bytes.clone();
        broken[at] ^= 0x20;
        assert_eq!(load(&desk, &broken), Err(Unfit::Damaged), "byte {at}");
    }
    for length in [0, 7, 39, 59, bytes.len() - 1] {
        assert_eq!(load(&desk, &bytes[..length]), Err(Unfit::Damaged), "{length} bytes");
    }
    assert!(units(&desk).is_empty());
    assert_eq!(desk.filter.0.lock().unwrap().generation, 0);
}

#[test]
fn a_program_that_does_not_verify_is_refused_though_its_digests_are_right() {
    let bytes = kept(&loaded());
    let desk = Desk::default();
    assert_eq!(good::load(&desk.filter, &bytes, 1), Err(Unfit::Program));
    assert!(units(&desk).is_empty());
}

#[test]
fn no_rules_are_kept_as_none() {
    let desk = Desk::default();
    let bytes = kept(&desk);
    assert_eq!(load(&desk, &bytes), Ok(0));
}
