//! The intermediate driver against the mock: both edges in every order, every list back where it came from as it came.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use ndismock::im::sys as given;
use ndismock::im::{Event, Nt, Place, Whose, handle};
use ndismock::sys;
use pfdriver::edge::count::Why;
use pfdriver::edge::offload::Offload;
use pfdriver::edge::port::{PortId, Side};
use pfdriver::edge::{Entry, Exit, Fate, Going, Lent, Sink};
use pfndis::frames::Supply;
use pfndis::im::adapter::Adapter;
use pfndis::im::between::Between;
use pfndis::im::driver::Im;
use pfndis::im::life::{Above, Below};
use pfndis::judge::{self, Judge};
use pfndis::module::Driver;
use pfndis::sys::code::{FAILURE, NOT_SUPPORTED, PAUSED, PENDING, RESOURCES, SEND_ABORTED, SUCCESS, UNSUPPORTED_MEDIA};
use pfndis::sys::code_im::{ADAPTER_NOT_READY, INVALID_STATE, event};
use pfndis::sys::layout::{Handle, Header, NetBufferList};
use pfndis::sys::layout_im::{LinkState, ReceiveScale};
use pfndis::sys::modules::Ref;
use pfvm::rule::Af;
use proptest::prelude::*;

const PASS: u8 = 0;
const DROP: u8 = 1;
const REWRITE: u8 = 2;
const TWICE: u8 = 3;
const LATER: u8 = 4;

/// Decides by a frame's first byte.
#[derive(Debug, Default)]
struct Script {
    attached: Vec<judge::Adapter>,
    made: Vec<Vec<u8>>,
    now: u64,
}

impl Judge for Script {
    fn attach(&mut self, adapter: &judge::Adapter) -> Option<PortId> {
        self.attached.push(*adapter);
        Some(PortId(self.attached.len() as u16 - 1))
    }

    fn restarted(&mut self, _: PortId, mtu: u32) {
        assert_eq!(mtu, 1500);
    }

    fn detach(&mut self, _: PortId) {}

    fn frame<S: Sink>(&mut self, entry: Entry, lent: Lent<'_>, offload: Offload, sink: &mut S) -> Fate {
        if lent.window[lent.head] == TWICE {
            let all: Vec<&[u8]> = std::iter::once(&lent.window[lent.head..]).chain(lent.rest.iter().copied()).collect();
            sink.frame(straight(entry), &all, &Offload::default(), Af::Inet);
        }
        alone(entry, lent, offload)
    }

    fn now_ms(&self) -> u64 {
        self.now
    }

    fn may_wait(&self) -> u32 {
        u32::MAX
    }

    type Local = ();

    fn local(&self) -> Option<()> {
        Some(())
    }

    fn shared(&self, (): &mut (), entry: Entry, lent: Lent<'_>, offload: Offload) -> Option<Fate> {
        (lent.window[lent.head] != TWICE).then(|| alone(entry, lent, offload))
    }

    fn tell(&self, (): &mut ()) {}

    fn gather(&mut self, (): &mut ()) {}

    fn short(&mut self, _: u32) {}

    fn tick<S: Sink>(&mut self, sink: &mut S) {
        for frame in self.made.drain(..) {
            sink.frame(Exit::Wire(PortId(0)), &[&frame], &Offload::default(), Af::Inet);
        }
    }
}

fn straight(entry: Entry) -> Exit {
    match entry.side {
        Side::Stack => Exit::Wire(entry.port),
        Side::Wire => Exit::Stack(entry.port),
    }
}

/// What becomes of a frame itself.
fn alone(entry: Entry, lent: Lent<'_>, offload: Offload) -> Fate {
    let len = lent.window.len() - lent.head + lent.rest.iter().map(|r| r.len()).sum::<usize>();
    let kind = lent.window[lent.head];
    let mut delay = 0;
    match kind {
        PASS | TWICE => {}
        REWRITE => lent.window[lent.head + 1] ^= 0xff,
        LATER => delay = 20,
        _ => return Fate::Drop(Why::Filter),
    }
    Fate::Pass(Going { exit: straight(entry), head: lent.head, len, offload, af: Af::Inet, delay })
}

/// What a frame leaves as.
fn becomes(frame: &[u8]) -> Vec<Vec<u8>> {
    let mut out = frame.to_vec();
    match frame[0] {
        PASS => vec![out],
        REWRITE => {
            out[1] ^= 0xff;
            vec![out]
        }
        TWICE => vec![out.clone(), out],
        _ => Vec::new(),
    }
}

type One = Ref<Adapter<Nt, Script>>;

const SMALL: Supply = Supply { small: 32, large: 4 };
const MAC: [u8; 6] = [2, 0, 0, 0, 0, 7];
const MINIPORT: Handle = handle(0x3300);
const BIND: Handle = handle(0xB1D);
const UNBIND: Handle = handle(0xBAD);

/// A driver and the adapter it is bound to.
struct Rig {
    driver: Box<Driver<Between<Nt, Script>, Script>>,
    im: Im<Nt, Script>,
    // What a bind shows lives as long as the rig.
    offload: Box<[u32; 54]>,
    scale: Box<ReceiveScale>,
}

impl Rig {
    fn new(supply: Supply) -> Self {
        let driver = Box::new(Driver::new(Between::new(Nt::default()), Script::default(), supply).unwrap());
        let im = Im::new(Ref::of(&*driver));
        let mut offload = Box::new([0_u32; 54]);
        offload[0] = u32::from_le_bytes([0xA7, 6, 216, 0]);
        let scale = Box::new(ReceiveScale {
            header: Header { kind: 0x88, revision: 2, size: 18 },
            flags: 1,
            messages: 2,
            queues: 4,
            entries: 128,
        });
        Self { driver, im, offload, scale }
    }

    fn nt(&self) -> &Nt {
        &self.driver.os.ndis
    }

    fn bind_as(&mut self, medium: i32) -> i32 {
        let (offload, scale) = (self.offload.as_mut_ptr().cast(), &raw mut *self.scale);
        self.im.bind(BIND, &raw mut *given::bind(MAC, medium, offload, scale))
    }

    /// Binds; the adapter's context is what an open was called with, here found by its address.
    fn bind(&mut self) -> One {
        assert_eq!(self.bind_as(0), SUCCESS);
        self.im.adapters().next().expect("an adapter")
    }

    fn event(&self, adapter: One, code: i32) {
        assert_eq!(self.im.net_event(Some(adapter), &raw const *given::event(code, std::ptr::null_mut(), 0)), SUCCESS);
    }

    /// The binding and the miniport run.
    fn run(&mut self) -> One {
        let adapter = self.bind();
        assert_eq!(adapter.get().initialize(MINIPORT, 9, 99), SUCCESS);
        self.go(adapter);
        self.nt().events();
        adapter
    }

    fn go(&self, adapter: One) {
        let binding = *self.nt().world().open.iter().next().expect("a binding");
        self.nt().world().sends.insert(binding);
        self.event(adapter, event::RESTART);
        self.nt().world().indicates.insert(0x3300);
        assert_eq!(adapter.get().restart(), SUCCESS);
    }

    /// What is out comes back.
    fn drain(&self, adapter: One) {
        for place in [Place::Below, Place::Above] {
            for list in self.nt().at(place) {
                back(self.nt(), adapter, &[list], place);
            }
        }
    }

    /// Everything stops and is let go of; nothing is left.
    fn end(self, adapter: One) {
        if adapter.get().life().above == Above::Running {
            self.stop(adapter);
        }
        self.drain(adapter);
        if adapter.get().life().above == Above::Paused {
            adapter.get().halt();
        }
        assert_eq!(self.im.unbind(adapter, UNBIND), SUCCESS);
        self.over();
    }

    fn stop(&self, adapter: One) {
        match adapter.get().pause() {
            SUCCESS => {
                self.nt().world().indicates.remove(&0x3300);
            }
            PENDING => {
                self.drain(adapter);
                assert_eq!(self.nt().events().iter().filter(|e| **e == Event::Paused).count(), 1);
            }
            other => panic!("{other:x}"),
        }
        assert_eq!(adapter.get().up.under_way(), 0);
    }

    fn over(self) {
        assert_eq!(self.im.bound(), 0);
        self.nt().sweep();
        self.nt().world().assert_empty();
    }
}

/// Lists come back from below or above.
fn back(nt: &Nt, adapter: One, lists: &[*mut NetBufferList], from: Place) {
    let lists = nt.take(lists, from);
    if lists.is_empty() {
        return;
    }
    match from {
        Place::Below => adapter.get().sent(sys::chain(&lists), 0),
        _ => adapter.get().returned(sys::chain(&lists), 0),
    }
}

fn frames_of(events: &[Event], up: bool) -> Vec<Vec<u8>> {
    let pick = |e: &Event| match e {
        Event::Sent(_, f) if !up => Some(f.clone()),
        Event::Indicated(_, f) if up => Some(f.clone()),
        _ => None,
    };
    events.iter().filter_map(pick).flatten().collect()
}

fn sorted(mut frames: Vec<Vec<u8>>) -> Vec<Vec<u8>> {
    frames.sort();
    frames
}

fn lists() -> impl Strategy<Value = Vec<Vec<Vec<u8>>>> {
    let frame = (0..4_u8, 20..300_usize)
        .prop_map(|(kind, len)| (0..len).map(|i| if i == 0 { kind } else { i as u8 }).collect());
    proptest::collection::vec(proptest::collection::vec(frame, 1..3), 1..8)
}

#[test]
fn a_life_from_bind_to_unbind() {
    let mut rig = Rig::new(SMALL);
    let adapter = rig.bind();
    assert_eq!(rig.nt().events(), [Event::Asked]);
    assert_eq!((adapter.get().life().below, adapter.get().life().above), (Below::Paused, Above::Asked));
    assert_eq!(adapter.get().restart(), INVALID_STATE, "there is no miniport yet");
    assert_eq!(adapter.get().initialize(MINIPORT, 9, 99), SUCCESS);
    assert_eq!(adapter.get().initialize(MINIPORT, 9, 99), INVALID_STATE, "there is one already");
    let attached = rig.driver.core.with(&rig.driver.os, |core| core.judge.attached.clone());
    assert_eq!(attached, [judge::Adapter { if_index: 9, luid: 99, mac: MAC, mtu: 1500 }]);
    for _ in 0..3 {
        rig.go(adapter);
        rig.stop(adapter);
        assert_eq!(adapter.get().pause(), INVALID_STATE);
        rig.event(adapter, event::PAUSE);
    }
    adapter.get().halt();
    adapter.get().halt();
    assert_eq!(adapter.get().life().above, Above::Absent);
    assert_eq!(rig.im.unbind(adapter, UNBIND), SUCCESS);
    rig.over();
}

#[test]
fn a_miniport_looks_like_the_adapter_below() {
    let mut rig = Rig::new(SMALL);
    let adapter = rig.bind();
    assert_eq!(adapter.get().initialize(MINIPORT, 9, 99), SUCCESS);
    let attributes = rig.nt().world().attributes.clone();
    let [
        given::Attributes::Registration(r),
        given::Attributes::General(g, oids),
        given::Attributes::Offload(o, header),
    ] = attributes.as_slice()
    else {
        panic!("{attributes:?}")
    };
    assert_eq!((r.flags, r.context, r.check_for_hang), (0x20, handle(adapter.as_ptr().addr()), 0));
    assert_eq!((g.mtu, g.max_xmit_speed, g.max_rcv_speed, g.xmit_speed, g.rcv_speed), (1500, 40, 30, 20, 10));
    assert_eq!(
        (g.connect, g.duplex, g.medium, g.physical_medium, g.interface.if_type, g.interface.connector),
        (1, 2, 0, 14, 6, 0)
    );
    assert_eq!((&g.current_mac[..7], &g.permanent_mac[..6]), (&[2, 0, 0, 0, 0, 7, 0][..], &MAC[..]));
    assert_eq!((g.mac_options, g.packet_filters, g.lookahead), (0x40 | 0x200 | 8, 0x2F, 1400));
    assert_eq!((g.data_back_fill, g.context_back_fill), (8, 48 + 32));
    assert!(g.power.is_null() && g.power_ex.is_null(), "it wakes nobody");
    assert!(!g.receive_scale.is_null() && oids.contains(&0x1_010E));
    assert_eq!((header.kind, header.size, o.current), (0xA7, 216, o.hardware));
    rig.end(adapter);
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 100, ..ProptestConfig::default() })]

    #[test]
    fn sends_go_down_as_decided(lists in lists()) {
        let mut rig = Rig::new(SMALL);
        let adapter = rig.run();
        let raw: Vec<_> = lists.iter().map(|l| rig.nt().list(Whose::Stack, l)).collect();
        adapter.get().send(sys::chain(&raw), 0, 2);
        let wanted: Vec<_> = lists.iter().flatten().flat_map(|f| becomes(f)).collect();
        let mut events = rig.nt().events();
        prop_assert_eq!(sorted(frames_of(&events, false)), sorted(wanted));
        rig.drain(adapter);
        events.extend(rig.nt().events());
        for (list, frames) in raw.iter().zip(&lists) {
            let on = frames.iter().any(|f| f[0] != DROP);
            let done: Vec<_> = events.iter().filter(|e| matches!(e, Event::Completed(l, _) if *l == list.addr())).cloned().collect();
            prop_assert_eq!(done, vec![Event::Completed(list.addr(), if on { SUCCESS } else { SEND_ABORTED })]);
        }
        rig.end(adapter);
    }

    #[test]
    fn receives_go_up_as_decided(lists in lists(), lent in any::<bool>()) {
        let mut rig = Rig::new(SMALL);
        let adapter = rig.run();
        let raw: Vec<_> = lists.iter().map(|l| rig.nt().list(Whose::Card, l)).collect();
        adapter.get().receive(sys::chain(&raw), 0, if lent { 2 } else { 0 });
        let wanted: Vec<_> = lists.iter().flatten().flat_map(|f| becomes(f)).collect();
        prop_assert_eq!(sorted(frames_of(&rig.nt().events(), true)), sorted(wanted));
        if lent {
            prop_assert_eq!(sys::linked(raw[0]), raw.clone());
            let mut world = rig.nt().world();
            for list in &raw {
                prop_assert_eq!(sys::source(*list), ndismock::im::CARD);
                prop_assert_eq!(world.lists.insert(list.addr(), (Whose::Card, Place::Home)), Some((Whose::Card, Place::Driver)));
            }
        }
        rig.drain(adapter);
        rig.end(adapter);
    }
}

#[test]
fn a_pause_waits_for_lists_of_others_and_of_our_own_both_ways() {
    let mut rig = Rig::new(SMALL);
    let adapter = rig.run();
    for kind in [PASS, REWRITE] {
        let down = rig.nt().list(Whose::Stack, &[vec![kind; 60]]);
        adapter.get().send(sys::chain(&[down]), 0, 0);
        let up = rig.nt().list(Whose::Card, &[vec![kind; 60]]);
        adapter.get().receive(sys::chain(&[up]), 0, 0);
    }
    assert_eq!(adapter.get().pause(), PENDING);
    // What comes now goes back at once.
    let late = rig.nt().list(Whose::Stack, &[vec![PASS; 60]]);
    adapter.get().send(sys::chain(&[late]), 0, 0);
    let received = rig.nt().list(Whose::Card, &[vec![PASS; 60]]);
    adapter.get().receive(sys::chain(&[received]), 0, 0);
    let events = rig.nt().events();
    assert!(
        events.contains(&Event::Completed(late.addr(), PAUSED)) && events.contains(&Event::Returned(received.addr()))
    );
    let out: Vec<_> = [Place::Below, Place::Above]
        .into_iter()
        .flat_map(|p| rig.nt().at(p).into_iter().map(move |l| (l, p)))
        .collect();
    assert_eq!(out.len(), 4);
    for (n, (list, place)) in out.iter().enumerate() {
        assert!(!rig.nt().events().contains(&Event::Paused), "{n} are back");
        back(rig.nt(), adapter, &[*list], *place);
    }
    assert!(rig.nt().events().contains(&Event::Paused));
    assert_eq!(adapter.get().life().above, Above::Paused);
    rig.end(adapter);
}

#[test]
fn a_paused_binding_sends_nothing_and_waits_for_what_it_sent() {
    let mut rig = Rig::new(SMALL);
    let adapter = rig.run();
    let sent = rig.nt().list(Whose::Stack, &[vec![PASS; 60]]);
    adapter.get().send(sys::chain(&[sent]), 0, 0);
    let rewritten = rig.nt().list(Whose::Stack, &[vec![REWRITE; 60]]);
    adapter.get().send(sys::chain(&[rewritten]), 0, 0);
    let driver = Ref::of(&*rig.driver);
    rig.nt().while_waiting(move || {
        let nt = &driver.get().os.ndis;
        back(nt, adapter, &nt.at(Place::Below), Place::Below);
    });
    rig.event(adapter, event::PAUSE);
    rig.nt().world().sends.clear();
    assert_eq!(rig.nt().at(Place::Below), [] as [*mut NetBufferList; 0]);
    assert_eq!(adapter.get().life().below, Below::Paused);
    rig.nt().events();
    // The miniport still runs: what it is given comes back, rewritten or not; what the driver makes is dropped.
    for kind in [PASS, REWRITE] {
        let list = rig.nt().list(Whose::Stack, &[vec![kind; 60]]);
        adapter.get().send(sys::chain(&[list]), 0, 0);
        let done = rig.nt().events();
        assert!(matches!(done.as_slice(), [Event::Completed(l, PAUSED)] if *l == list.addr()), "{done:?}");
    }
    rig.driver.core.with(&rig.driver.os, |core| core.judge.made = vec![vec![PASS; 40]]);
    rig.driver.tick();
    assert_eq!(rig.nt().events(), []);
    let up = rig.nt().list(Whose::Card, &[vec![PASS; 60]]);
    adapter.get().receive(sys::chain(&[up]), 0, 0);
    assert_eq!(frames_of(&rig.nt().events(), true).len(), 1, "receiving needs no sending");
    rig.drain(adapter);
    rig.end(adapter);
}

#[test]
fn what_comes_before_the_miniport_is_there_goes_back() {
    let mut rig = Rig::new(SMALL);
    let adapter = rig.bind();
    rig.event(adapter, event::RESTART);
    let list = rig.nt().list(Whose::Card, &[vec![PASS; 60]]);
    adapter.get().receive(sys::chain(&[list]), 0, 0);
    assert!(rig.nt().events().contains(&Event::Returned(list.addr())));
    let lent = [0, 1].map(|_| rig.nt().list(Whose::Card, &[vec![PASS; 60]]));
    adapter.get().receive(sys::chain(&lent), 0, 2);
    assert_eq!((sys::linked(lent[0]), rig.nt().events()), (lent.to_vec(), Vec::new()));
    for list in lent {
        rig.nt().world().lists.insert(list.addr(), (Whose::Card, Place::Home));
    }
    rig.nt().world().says.cancel = SUCCESS;
    assert_eq!(rig.im.unbind(adapter, UNBIND), SUCCESS);
    rig.over();
}

#[test]
fn without_room_for_a_note_a_list_goes_back() {
    let mut rig = Rig::new(SMALL);
    let adapter = rig.run();
    rig.nt().world().no_context = true;
    let down = rig.nt().list(Whose::Stack, &[vec![PASS; 60]]);
    adapter.get().send(sys::chain(&[down]), 0, 0);
    let up = rig.nt().list(Whose::Card, &[vec![PASS; 60]]);
    adapter.get().receive(sys::chain(&[up]), 0, 0);
    // Frames of our own need none.
    let own = rig.nt().list(Whose::Stack, &[vec![REWRITE; 60]]);
    adapter.get().send(sys::chain(&[own]), 0, 0);
    let events = rig.nt().events();
    assert_eq!(events[..2], [Event::Completed(down.addr(), RESOURCES), Event::Returned(up.addr())]);
    assert!(matches!(events[2], Event::Sent(..)));
    rig.end(adapter);
}

#[test]
fn requests_go_down_as_clones_but_those_about_power() {
    let mut rig = Rig::new(SMALL);
    let adapter = rig.run();
    let this = adapter.get();
    for (kind, direct) in [(0, false), (1, false), (12, true), (2, false)] {
        let request = sys::request(kind, 0x1_0106);
        rig.nt().world().immediate = Some(SUCCESS);
        assert_eq!((this.oid(request, direct), sys::get_answer(request)), (SUCCESS, (7, 9)));
        rig.nt().world().immediate = None;
        assert_eq!(this.oid(request, direct), PENDING);
        let (clone, _) = rig.nt().world().requests.pop().unwrap();
        let clone = std::ptr::with_exposed_provenance_mut(clone);
        sys::set_answer(clone, 21, 22);
        this.cancel_oid(std::ptr::null_mut(), direct);
        this.answered(clone, -3, direct);
        assert_eq!(
            (sys::get_answer(request), rig.nt().events()),
            ((21, 22), vec![Event::Answered(request.addr(), -3)])
        );
        rig.nt().fail(Some(1));
        assert_eq!(this.oid(request, direct), RESOURCES);
        rig.nt().fail(None);
        sys::free_request(request);
    }
    assert_eq!(this.alive.under_way(), 0);
    // Power is answered here; without it nothing goes down.
    let query = sys::request(0, 0xFD01_0102);
    let refused = sys::request(0, 0xFD01_0100);
    assert_eq!((this.oid(query, false), this.oid(refused, false)), (SUCCESS, NOT_SUPPORTED));
    let ask = |power: u32, length: u32| {
        let mut power = power;
        let request = given::set_request(0xFD01_0101, &mut power, length);
        let status = this.oid(request, false);
        let answer = sys::get_answer(request);
        sys::free_request(request);
        (status, answer)
    };
    assert_eq!(ask(4, 3), (pfndis::sys::code_im::INVALID_LENGTH, (0, 4)));
    assert_eq!(ask(4, 4), (SUCCESS, (4, 0)));
    let below = sys::request(0, 0x1_0106);
    assert_eq!(this.oid(below, false), ADAPTER_NOT_READY);
    assert_eq!(ask(1, 4).0, SUCCESS);
    rig.nt().world().immediate = Some(SUCCESS);
    assert_eq!(this.oid(below, false), SUCCESS);
    // Nor while the adapter below has none.
    let mut low = 4_u32;
    let sleeps = given::event(event::SET_POWER, (&raw mut low).cast(), 4);
    assert_eq!(
        (rig.im.net_event(Some(adapter), &raw const *sleeps), this.oid(below, false)),
        (SUCCESS, ADAPTER_NOT_READY)
    );
    for request in [query, refused, below] {
        sys::free_request(request);
    }
    rig.end(adapter);
}

#[test]
fn a_halt_waits_for_requests() {
    let mut rig = Rig::new(SMALL);
    let adapter = rig.run();
    let request = sys::request(0, 0x1_0106);
    assert_eq!(adapter.get().oid(request, false), PENDING);
    rig.stop(adapter);
    let driver = Ref::of(&*rig.driver);
    let asked = request.expose_provenance();
    rig.nt().while_waiting(move || {
        let nt = &driver.get().os.ndis;
        let (clone, direct) = nt.world().requests.pop().unwrap();
        adapter.get().answered(std::ptr::with_exposed_provenance_mut(clone), SUCCESS, direct);
        assert!(nt.events().contains(&Event::Answered(asked, SUCCESS)));
    });
    adapter.get().halt();
    assert_eq!(adapter.get().life().above, Above::Absent);
    assert_eq!(adapter.get().oid(request, false), ADAPTER_NOT_READY);
    sys::free_request(request);
    rig.end(adapter);
}

#[test]
fn links_go_up_in_the_miniports_name() {
    let mut rig = Rig::new(SMALL);
    let adapter = rig.bind();
    let link = |connect| LinkState {
        header: Header { kind: 0x80, revision: 1, size: 40 },
        connect,
        duplex: 2,
        xmit_speed: 5,
        rcv_speed: 5,
        pause_functions: 0,
        auto_negotiation: 0,
    };
    let say = |connect| adapter.get().status(&raw const *given::link_status(&mut link(connect)));
    // Before the miniport is there its link is kept for it.
    say(2);
    rig.nt().events();
    assert_eq!(adapter.get().initialize(MINIPORT, 9, 99), SUCCESS);
    let general = rig.nt().world().attributes.iter().find_map(|a| match a {
        given::Attributes::General(g, _) => Some((g.connect, g.xmit_speed)),
        _ => None,
    });
    assert_eq!(general, Some((2, 5)));
    say(2);
    assert_eq!(rig.nt().events(), [], "it said so when it was introduced");
    say(1);
    assert_eq!(rig.nt().events(), [Event::Said(0x4001_0017, Some(1))]);
    let other = |code| adapter.get().status(&raw const *given::status(code, std::ptr::null_mut(), 0));
    other(0x4002_0006);
    other(0x4001_0023);
    assert_eq!(rig.nt().events(), [Event::Said(0x4002_0006, None)]);
    adapter.get().status(&raw const *given::status(0x4001_0017, std::ptr::null_mut(), 40));
    assert_eq!(rig.nt().events(), [], "a link that is not there");
    rig.end(adapter);
}

#[test]
fn an_adapter_may_not_open() {
    let mut rig = Rig::new(SMALL);
    assert_eq!(rig.bind_as(3), UNSUPPORTED_MEDIA);
    rig.nt().world().says.open = FAILURE;
    assert_eq!(rig.bind_as(0), FAILURE);
    assert_eq!(rig.im.bound(), 0);
    for status in [FAILURE, SUCCESS] {
        rig.nt().world().says.open = PENDING;
        assert_eq!(rig.bind_as(0), PENDING);
        let adapter = rig.im.adapters().next().unwrap();
        if status == FAILURE {
            rig.nt().world().open.clear();
        }
        rig.im.open_complete(adapter, status);
        assert!(rig.nt().events().contains(&Event::Bound(status)));
    }
    // The close, too, may take its time.
    let adapter = rig.im.adapters().next().unwrap();
    (rig.nt().world().says.close, rig.nt().world().says.cancel) = (PENDING, SUCCESS);
    assert_eq!(rig.im.unbind(adapter, UNBIND), PENDING);
    rig.im.close_complete(adapter);
    assert_eq!(rig.nt().events(), [Event::Unbound(0xBAD)]);
    rig.over();
}

#[test]
fn an_unbind_meets_a_miniport_at_any_moment() {
    for late in [false, true] {
        let mut rig = Rig::new(SMALL);
        let adapter = rig.bind();
        if !late {
            assert_eq!(adapter.get().initialize(MINIPORT, 9, 99), SUCCESS);
            rig.go(adapter);
        }
        let driver = Ref::of(&*rig.driver);
        let ends = move || {
            let nt = &driver.get().os.ndis;
            assert!(nt.events().contains(&Event::Stopped(0x3300)));
            if adapter.get().life().above == Above::Running {
                assert_eq!(adapter.get().pause(), SUCCESS);
            }
            adapter.get().halt();
        };
        if late {
            // Too late to be cancelled: NDIS starts it meanwhile, and is told to stop it.
            rig.nt().while_waiting(move || {
                assert_eq!(adapter.get().initialize(MINIPORT, 9, 99), SUCCESS);
                driver.get().os.ndis.while_waiting(ends);
            });
        } else {
            rig.nt().while_waiting(ends);
        }
        assert_eq!(rig.im.unbind(adapter, UNBIND), SUCCESS);
        rig.over();
    }
}

#[test]
fn a_miniport_is_asked_for_again() {
    let mut rig = Rig::new(SMALL);
    rig.nt().world().says.start = FAILURE;
    let adapter = rig.bind();
    assert_eq!(adapter.get().life().above, Above::Absent);
    let tell = |rig: &Rig, code| rig.im.net_event(None, &raw const *given::event(code, std::ptr::null_mut(), 0));
    rig.nt().world().says.start = SUCCESS;
    rig.nt().events();
    assert_eq!((tell(&rig, event::RECONFIGURE), rig.nt().events()), (SUCCESS, vec![Event::Asked]));
    assert_eq!((tell(&rig, event::RECONFIGURE), rig.nt().events()), (SUCCESS, vec![]), "it is under way");
    rig.nt().world().says.attributes = FAILURE;
    assert_eq!(adapter.get().initialize(MINIPORT, 9, 99), FAILURE);
    rig.nt().world().says.attributes = SUCCESS;
    assert_eq!((tell(&rig, event::RE_ENABLE), rig.nt().events()), (SUCCESS, vec![Event::Asked]));
    assert_eq!(adapter.get().initialize(MINIPORT, 9, 99), SUCCESS);
    rig.end(adapter);
}

#[test]
fn every_allocation_may_fail() {
    let mut failures = 0;
    for at in 1.. {
        let mut rig = Rig::new(Supply { small: 3, large: 2 });
        rig.nt().fail(Some(at));
        let bound = rig.bind_as(0);
        if bound != SUCCESS {
            assert_eq!(bound, RESOURCES);
            failures += 1;
            rig.over();
            continue;
        }
        let adapter = rig.im.adapters().next().unwrap();
        let status = adapter.get().initialize(MINIPORT, 9, 99);
        rig.nt().fail(None);
        rig.nt().world().says.cancel = SUCCESS;
        rig.end(adapter);
        if status == SUCCESS {
            break;
        }
        assert_eq!(status, RESOURCES);
        failures += 1;
    }
    // The adapter; a pool, three allocations for each of five frames, the module.
    assert_eq!(failures, 1 + 1 + 3 * 5 + 1);
}

#[test]
fn threads_send_receive_return_and_pause() {
    for _ in 0..8 {
        let mut rig = Rig::new(SMALL);
        let adapter = rig.run();
        let over = Arc::new(AtomicBool::new(false));
        std::thread::scope(|scope| {
            let nt = rig.nt();
            for way in [Whose::Stack, Whose::Card] {
                let over = over.clone();
                scope.spawn(move || {
                    let mut n = 0_u8;
                    while !over.load(Ordering::SeqCst) {
                        n = n.wrapping_add(1);
                        let list = nt.list(way, &[vec![n % 4; 40 + usize::from(n)]]);
                        match way {
                            Whose::Stack => adapter.get().send(sys::chain(&[list]), 0, 0),
                            _ => adapter.get().receive(sys::chain(&[list]), 0, 0),
                        }
                    }
                });
            }
            let drained = over.clone();
            scope.spawn(move || {
                while !drained.load(Ordering::SeqCst) {
                    for place in [Place::Below, Place::Above] {
                        back(nt, adapter, &nt.at(place), place);
                    }
                }
            });
            for _ in 0..20 {
                match adapter.get().pause() {
                    SUCCESS => {
                        nt.world().indicates.remove(&0x3300);
                    }
                    PENDING => {
                        while adapter.get().life().above != Above::Paused || nt.world().indicates.contains(&0x3300) {
                            std::thread::yield_now();
                        }
                    }
                    other => panic!("{other:x}"),
                }
                nt.world().indicates.insert(0x3300);
                assert_eq!(adapter.get().restart(), SUCCESS);
            }
            over.store(true, Ordering::SeqCst);
        });
        rig.drain(adapter);
        rig.drain(adapter);
        rig.nt().events();
        rig.end(adapter);
    }
}

#[test]
fn frames_that_wait_leave_by_binding_and_miniport_or_with_the_pause() {
    let mut rig = Rig::new(SMALL);
    let adapter = rig.run();
    let late = |rig: &Rig, whose| rig.nt().list(whose, &[vec![LATER; 60]]);
    let wake = |rig: &Rig| {
        rig.driver.core.with(&rig.driver.os, |core| core.judge.now += 20);
        assert_eq!(rig.nt().world().woken.take(), Some(20));
        rig.driver.wake();
    };
    adapter.get().send(sys::chain(&[late(&rig, Whose::Stack)]), 0, 0);
    adapter.get().receive(sys::chain(&[late(&rig, Whose::Card)]), 0, 0);
    let events = rig.nt().events();
    assert_eq!((frames_of(&events, false), frames_of(&events, true)), (vec![], vec![]));
    wake(&rig);
    let events = rig.nt().events();
    assert_eq!((frames_of(&events, false).len(), frames_of(&events, true).len()), (1, 1));
    rig.drain(adapter);
    // The miniport pauses at once, though a frame waits: it is gone.
    adapter.get().send(sys::chain(&[late(&rig, Whose::Stack)]), 0, 0);
    rig.nt().events();
    assert_eq!(adapter.get().pause(), SUCCESS);
    wake(&rig);
    assert_eq!(rig.nt().events(), []);
    rig.end(adapter);
}
