use super::*;
use crate::packet::addr4;
use crate::rule::{Af, Direction};

fn net(side: Side, a: [u8; 4], prefix: u8) -> Op {
    Op::Test(Test::Net { side, af: Af::Inet, addr: addr4(a), prefix })
}

fn facts<'f>() -> Facts<'f> {
    Facts {
        af: Some(Af::Inet),
        ends: Some(((addr4([192, 0, 2, 1]), 4000), (addr4([198, 51, 100, 7]), 443))),
        proto: Some(6),
        dir: Some(Direction::In),
        ..Facts::default()
    }
}

fn holds(ops: &[Op], text: &str, f: &Facts<'_>) -> Option<bool> {
    Expr::new(ops, text).unwrap().holds(f)
}

#[test]
fn tests_and_connectives() {
    let f = facts();
    let port = |side, p| Op::Test(Test::Port { side, lo: p, hi: p });
    assert_eq!(holds(&[], "", &f), Some(true));
    assert_eq!(holds(&[net(Side::Src, [192, 0, 2, 0], 24)], "", &f), Some(true));
    assert_eq!(holds(&[net(Side::Dst, [192, 0, 2, 0], 24)], "", &f), Some(false));
    assert_eq!(holds(&[net(Side::Any, [198, 51, 100, 7], 32), port(Side::Dst, 443), Op::And], "", &f), Some(true));
    assert_eq!(holds(&[port(Side::Src, 443), port(Side::Any, 4000), Op::Or], "", &f), Some(true));
    assert_eq!(holds(&[Op::Test(Test::Proto(17)), Op::Not], "", &f), Some(true));
    let icmp = Facts { proto: Some(1), ..f };
    assert_eq!(holds(&[port(Side::Any, 4000)], "", &icmp), Some(false), "no ports there");
    let ends = ((addr4([203, 0, 113, 1]), 1), (addr4([198, 51, 100, 7]), 443));
    let translated = Facts { other: Some((Af::Inet, ends.0, ends.1)), ..f };
    assert_eq!(holds(&[net(Side::Src, [203, 0, 113, 1], 32)], "", &translated), Some(true));
}

#[test]
fn what_is_not_known_is_neither() {
    let f = facts();
    let rule = Op::Test(Test::Rule { nr: 3, sub: None });
    let tcp = Op::Test(Test::Proto(6));
    let udp = Op::Test(Test::Proto(17));
    assert_eq!(holds(&[rule], "", &f), None);
    assert_eq!(holds(&[rule, Op::Not], "", &f), None);
    assert_eq!(holds(&[rule, udp, Op::And], "", &f), Some(false));
    assert_eq!(holds(&[rule, tcp, Op::And], "", &f), None);
    assert_eq!(holds(&[rule, tcp, Op::Or], "", &f), Some(true));
    let decided = Facts { rule: Some((3, Some(1))), complete: true, ..f };
    assert_eq!(holds(&[rule], "", &decided), Some(true));
    assert_eq!(holds(&[Op::Test(Test::Rule { nr: 3, sub: Some(2) })], "", &decided), Some(false));
    assert_eq!(holds(&[Op::Test(Test::Reason(1))], "", &decided), Some(false), "complete: not known is not so");
}

#[test]
fn names_are_pieces_of_the_text() {
    let on = |name: &str| name == "em0" || name == "egress";
    let f = Facts { on: Some(&on), label: Some("web"), state: Some(["ESTABLISHED", "SYN_SENT"]), ..facts() };
    let text = "egressweb";
    let on = Op::Test(Test::On(Text { at: 0, len: 6 }));
    let label = Op::Test(Test::Label(Text { at: 6, len: 3 }));
    assert_eq!(holds(&[on, label, Op::And], text, &f), Some(true));
    let state = Op::Test(Test::State(Text { at: 0, len: 11 }));
    assert_eq!(holds(&[state], "established", &f), Some(true));
    assert_eq!(Expr::new(&[Op::Test(Test::On(Text { at: 4, len: 9 }))], text), Err(ExprError::Shape));
}

#[test]
fn only_whole_expressions_are_taken() {
    let tcp = Op::Test(Test::Proto(6));
    for bad in [&[Op::Not][..], &[tcp, Op::And], &[tcp, tcp], &[Op::Or]] {
        assert_eq!(Expr::new(bad, ""), Err(ExprError::Shape), "{bad:?}");
    }
    assert_eq!(Expr::new(&[tcp; MAX_OPS + 1], ""), Err(ExprError::Long));
}

#[test]
fn bytes_and_back() {
    let ops = [
        net(Side::Any, [10, 0, 0, 0], 8),
        Op::Test(Test::On(Text { at: 0, len: 3 })),
        Op::And,
        Op::Test(Test::Number { what: Number::Rate, order: Order::More, value: u64::MAX }),
        Op::Or,
        Op::Not,
    ];
    let expr = Expr::new(&ops, "em0").unwrap();
    let mut room = [0; 256];
    let len = expr.encode(&mut room).unwrap();
    assert_eq!(Expr::decode(&room[..len]), Ok(expr));
    assert_eq!(Expr::decode(&room[..=len]), Err(ExprError::Bytes), "a byte follows");
    for cut in 0..len {
        assert!(Expr::decode(&room[..cut]).is_err(), "{cut}");
    }
    // Whatever the bytes, decoding and deciding end.
    for at in 0..len {
        for value in [0, 1, 7, 63, 127, 255] {
            let mut bad = room;
            bad[at] = value;
            if let Ok(e) = Expr::decode(&bad[..len]) {
                let _ = e.holds(&facts());
            }
        }
    }
}
