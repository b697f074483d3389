//! The intermediate driver's portable half in one process: bindings and miniports of the mock, the edge and the filter, the
//! device in front.

use std::collections::BTreeSet;

use ndismock::im::sys as given;
use ndismock::im::{CARD, Event, Nt, Place, Whose, handle};
use ndismock::stack::One;
use ndismock::sys::{self, Placed};
use ndismock::world::{DISPATCH, PASSIVE, at_level};
use pfdriver::edge::port::Side;
use pfndis::frames::Supply;
use pfndis::gateway::{Boot, Gateway};
use pfndis::im::adapter::Adapter;
use pfndis::im::between::Between;
use pfndis::im::driver::Im;
use pfndis::im::life::Above;
use pfndis::module::Driver;
use pfndis::sys::code::{PENDING, SUCCESS};
use pfndis::sys::code_im::event;
use pfndis::sys::layout::{Handle, Header, NetBufferList};
use pfndis::sys::layout_im::ReceiveScale;
use pfndis::sys::modules::Ref;
use pfvm::api::Request;

use crate::desk::{Clock, small};
use crate::ndis::{Driven, Front, Left};
use crate::sys::driver_granted;

type Judge = Gateway<Clock>;
type Bound = Ref<Adapter<Nt, Judge>>;

const BIND: Handle = handle(0xB1D);
const UNBIND: Handle = handle(0xBAD);

const fn miniport(n: usize) -> Handle {
    handle(0x3300 + n)
}

/// A driver bound to two adapters: `em0` (1, outside, 192.0.2.1/24) and `em1` (2, inside, 10.0.0.1/24).
#[derive(Debug)]
pub struct Host {
    driver: Placed<Driver<Between<Nt, Judge>, Judge>>,
    im: Im<Nt, Judge>,
    /// Adapters that are bound, and the handles of their bindings.
    bound: [Option<(Bound, Handle)>; 2],
    // What a bind shows lives as long as the binding.
    offload: Box<[u32; 54]>,
    scale: Box<ReceiveScale>,
    front: Front,
}

impl Host {
    fn nt(&self) -> &Nt {
        &self.driver.os.ndis
    }

    /// Binds an adapter and starts its miniport, as far as memory goes.
    fn bind(&mut self, n: usize) {
        let before: BTreeSet<usize> = self.nt().world().open.clone();
        let mac = [2, 0, 0, 0, 0, n as u8 + 1];
        let mut shown = given::bind(mac, 0, self.offload.as_mut_ptr().cast(), &raw mut *self.scale);
        if at_level(PASSIVE, || self.im.bind(BIND, &raw mut *shown)) != SUCCESS {
            return;
        }
        let known = self.bound.map(|b| b.map(|(adapter, _)| adapter));
        let adapter = self.im.adapters().find(|a| !known.contains(&Some(*a))).expect("an adapter");
        let binding = *self.nt().world().open.difference(&before).next().expect("a binding");
        self.bound[n] = Some((adapter, handle(binding)));
        let index = n as u32 + 1;
        let started = at_level(PASSIVE, || adapter.get().initialize(miniport(n), index, u64::from(index)));
        self.nt().world().sends.insert(binding);
        let restart = given::event(event::RESTART, std::ptr::null_mut(), 0);
        assert_eq!(at_level(PASSIVE, || self.im.net_event(Some(adapter), &raw const *restart)), SUCCESS);
        if started == SUCCESS {
            self.nt().world().indicates.insert(miniport(n).0.addr());
            assert_eq!(at_level(PASSIVE, || adapter.get().restart()), SUCCESS);
        } else {
            assert!(started < 0);
        }
    }

    /// The adapter a handle is of, and whether it is its miniport.
    fn adapter_of(&self, by: Handle) -> (usize, bool) {
        let of = |n: &usize| by == miniport(*n) || self.bound[*n].is_some_and(|(_, binding)| binding == by);
        let n = (0..2).find(of).expect("a handle of ours");
        (n, by == miniport(n))
    }
}

impl Driven for Host {
    fn begin(boot: Boot, supply: Supply) -> Option<Self> {
        let nt = Nt::default();
        nt.choose(driver_granted);
        let gateway = at_level(PASSIVE, || Gateway::with_room(Clock::new(1_000_000), boot, &small()).ok())?;
        let driver = Placed::new(at_level(PASSIVE, || Driver::new(Between::new(nt), gateway, supply))?);
        let im = Im::new(Ref::of(&*driver));
        let mut offload = Box::new([0_u32; 54]);
        offload[0] = u32::from_le_bytes([0xA7, 6, 216, 0]);
        let header = Header { kind: 0x88, revision: 2, size: 18 };
        let scale = Box::new(ReceiveScale { header, flags: 1, messages: 2, queues: 4, entries: 128 });
        Some(Self { driver, im, bound: [None; 2], offload, scale, front: Front::new() })
    }

    fn go(&mut self) {
        (0..2).for_each(|n| self.bind(n));
    }

    fn ask(&mut self, request: &Request<'_>) -> Option<u64> {
        self.front.ask(request, &*self.driver)
    }

    fn gathered<T>(&self, f: impl FnOnce(&mut Judge) -> T) -> T {
        self.driver.gathered(f)
    }

    fn give_spoiled(
        &mut self,
        (n, side): (usize, Side),
        lists: &[One],
        lent: bool,
        spoil: &dyn Fn(*mut NetBufferList),
    ) -> (Vec<*mut NetBufferList>, Vec<Left>) {
        let Some((adapter, _)) = self.bound[n] else { return (vec![], vec![]) };
        let nt = self.nt();
        let whose = if side == Side::Stack { Whose::Stack } else { Whose::Card };
        let one = |(frames, info): &One| {
            let list = nt.cut_list(whose, frames);
            info.iter().for_each(|(place, value)| sys::set_info(list, *place, *value));
            spoil(list);
            list
        };
        let raw: Vec<_> = lists.iter().map(one).collect();
        nt.world().left.clear();
        let chain = sys::chain(&raw);
        at_level(PASSIVE, || match side {
            Side::Stack => adapter.get().send(chain, 0, 0),
            Side::Wire => adapter.get().receive(chain, 0, if lent { 2 } else { 0 }),
        });
        let mut world = nt.world();
        if side == Side::Wire && lent {
            assert_eq!(sys::linked(raw[0]), raw, "the chain is the adapter's as it was");
            for list in &raw {
                assert_eq!(sys::source(*list), CARD);
                assert!(!world.contexts.contains(&list.addr()));
                let before = world.lists.insert(list.addr(), (Whose::Card, Place::Home));
                assert_eq!(before, Some((Whose::Card, Place::Driver)));
            }
        }
        let left = |(at, by): &(usize, Handle)| {
            let (adapter, up) = self.adapter_of(*by);
            let own = world.lists[at].0 == Whose::Own;
            Left::of(std::ptr::with_exposed_provenance_mut(*at), adapter, up, own)
        };
        let left = world.left.iter().map(left).collect();
        (raw, left)
    }

    fn indicated(&mut self) -> Vec<Vec<u8>> {
        let frames = |e| if let Event::Indicated(_, frames) = e { frames } else { vec![] };
        self.nt().events().into_iter().flat_map(frames).collect()
    }

    fn settle(&mut self) {
        for place in [Place::Below, Place::Above] {
            for list in self.nt().at(place) {
                let (n, up) = self.adapter_of(sys::source(list));
                let (adapter, _) = self.bound[n].expect("an adapter that is bound");
                let lists = self.nt().take(&[list], place);
                let chain = sys::chain(&lists);
                at_level(DISPATCH, || match up {
                    true => adapter.get().returned(chain, 1),
                    false => adapter.get().sent(chain, 1),
                });
            }
        }
        self.nt().events();
    }

    fn tick(&mut self) {
        at_level(DISPATCH, || self.driver.tick());
    }

    fn request(&mut self, n: usize, kind: i32, oid: u32, direct: bool) {
        let Some((adapter, _)) = self.bound[n] else { return };
        let request = sys::request(kind, oid);
        self.nt().events();
        if at_level(PASSIVE, || adapter.get().oid(request, direct)) == PENDING {
            let (clone, direct) = self.nt().world().requests.pop().expect("a request below");
            let clone = std::ptr::with_exposed_provenance_mut(clone);
            at_level(DISPATCH, || adapter.get().answered(clone, SUCCESS, direct));
            assert_eq!(self.nt().events(), [Event::Answered(request.addr(), SUCCESS)]);
        }
        sys::free_request(request);
    }

    fn end(mut self) {
        self.front.close();
        for n in 0..2 {
            let Some((adapter, _)) = self.bound[n] else { continue };
            let above = || adapter.get().life().above;
            if above() == Above::Running {
                match at_level(PASSIVE, || adapter.get().pause()) {
                    SUCCESS => drop(self.nt().world().indicates.remove(&miniport(n).0.addr())),
                    status => assert_eq!(status, PENDING),
                }
                self.settle();
                assert_eq!(above(), Above::Paused);
                at_level(PASSIVE, || adapter.get().halt());
            }
        }
        self.settle();
        self.nt().world().says.cancel = SUCCESS;
        for (adapter, _) in self.bound.into_iter().flatten() {
            assert_eq!(at_level(PASSIVE, || self.im.unbind(adapter, UNBIND)), SUCCESS);
        }
        assert_eq!(self.im.bound(), 0);
        self.nt().sweep();
        self.nt().world().assert_empty();
    }
}
