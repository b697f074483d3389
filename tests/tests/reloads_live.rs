//! Rules loaded again and again while packets flow through a running pfd; the long form is
//! `cargo run --release -p tests --bin live -- reloads 1000`.

#[test]
fn live_reloads_lose_no_packet_and_no_state() {
    let Some(result) = tests::live::reloads::reloads(20, 400) else { return };
    assert!(result.complaints().is_empty(), "{:?}\n{result}", result.complaints());
}
