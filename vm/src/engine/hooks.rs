//! Where normalisation and answers meet the engine.

use crate::engine::Engine;
use crate::engine::cx::Cx;
use crate::engine::order::Arrived;
use crate::engine::outcome::Outcome;
use crate::host::Host;
use crate::packet::{DropReason, Packet, PktMeta};
use crate::state::record::StateFlags;

type Scrubbed = Result<(), Option<DropReason>>;

impl Engine {
    /// Fragments are put together, the rest goes on.
    pub(super) fn normalized<H: Host>(
        &mut self,
        pkt: &mut Packet<'_>,
        meta: &PktMeta,
        arrived: Arrived,
        _room: &mut [u8],
        host: &mut H,
    ) -> Outcome {
        let Arrived { mut pd, seen, carried } = arrived;
        Self::complete(&mut pd, seen, &carried);
        self.decide(pkt, meta, pd, carried, host)
    }

    pub(super) fn purge_fragments<H: Host>(&mut self, _host: &mut H) {}

    pub(super) fn scrub_first<H: Host>(&mut self, _cx: &mut Cx<'_, '_, H>, _slot: u32) -> Scrubbed {
        Ok(())
    }

    pub(super) fn scrub_begin<H: Host>(&mut self, _cx: &mut Cx<'_, '_, H>, _slot: u32, _forward: bool) -> Scrubbed {
        Ok(())
    }

    pub(super) fn scrub_track<H: Host>(&mut self, _cx: &mut Cx<'_, '_, H>, _slot: u32, _forward: bool) -> Scrubbed {
        Ok(())
    }

    pub(super) fn scrub_packet<H: Host>(&mut self, _cx: &mut Cx<'_, '_, H>, _f: StateFlags, _min_ttl: u8, _tos: u8) {}

    pub(super) fn limit_mss<H: Host>(&mut self, _cx: &mut Cx<'_, '_, H>, _max: u16) {}

    pub(super) fn sane_tcp<H: Host>(&mut self, _cx: &mut Cx<'_, '_, H>) -> Scrubbed {
        Ok(())
    }

    pub(super) fn change_family<H: Host>(&mut self, cx: &mut Cx<'_, '_, H>) -> bool {
        let id = u16::try_from(cx.host.random_u32() & 0xffff).unwrap_or(1).max(1);
        crate::nat::af::translate(cx.pkt, cx.meta, &mut cx.pd, id).is_ok()
    }

    pub(super) fn send_icmp<H: Host>(&mut self, _cx: &mut Cx<'_, '_, H>, _kind: u8, _code: u8, _param: u32) {}
}
