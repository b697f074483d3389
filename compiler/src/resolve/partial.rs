//! Statements with a syntax error: what pfctl had acted upon before it met the error.
//!
//! The parts are acted upon as if the statement were whole, because they may complain first; their results are
//! dropped. Options that may stand once are counted across the parts.

use super::filter::{Filter, PoolState, Scrub};
use super::host_item::{IdKind, PortForm};
use super::queue::QueueSoFar;
use super::rule::AnchorHead;
use super::table::TableSoFar;
use super::{Act, Resolver};
use crate::ast::{CompareField, Leaf, Node};
use crate::source::Sources;

/// What the parts of a statement came to so far.
#[derive(Debug, Default)]
pub(super) struct Partial {
    filter: Filter,
    scrub: Scrub,
    pool: PoolState,
    table: TableSoFar,
    queue: QueueSoFar,
    label: Option<String>,
    rtable: Option<u8>,
    marks: (u32, u32),
}

impl Resolver<'_> {
    /// One part.
    pub(super) fn node(
        &mut self,
        node: &Node,
        so_far: &mut Partial,
        heads: &mut Vec<AnchorHead>,
        sources: &mut Sources,
    ) -> Act {
        match node {
            Node::Action(action) => self.action(action).map(drop),
            Node::LogOpt(opt) => self.log_opt(opt).map(drop),
            Node::If(item) => self.iface(item).map(drop),
            Node::Proto(arg) => self.proto(arg).map(drop),
            Node::Host(host) => self.host(host).map(drop),
            Node::PoolHost(item) => self.pool_host(item, true).map(drop),
            Node::To(peer, at) => self.to(peer, *at).map(drop),
            Node::Compare(CompareField::Port, item) => self.port_item(item).map(drop),
            Node::Compare(CompareField::User, item) => self.id_item(item, IdKind::User).map(drop),
            Node::Compare(CompareField::Group, item) => self.id_item(item, IdKind::Group).map(drop),
            Node::Leaf(leaf, arg) => self.leaf(*leaf, arg),
            Node::Icmp { v6, item } => self.icmp_item(item, *v6).map(drop),
            Node::Dynamic { name, at } => self.dynamic(&name.text, *at, name.span).map(drop),
            Node::FilterOpt(opt) => {
                so_far.pool = PoolState::default();
                so_far.scrub = Scrub::default();
                self.filter_opt(opt, &mut so_far.filter)
            }
            Node::SetItem(item) => self.set_item(item, &mut so_far.filter),
            Node::ScrubOpt(item) => self.scrub_opt(item, &mut so_far.scrub),
            Node::StateOpt(opt) => self.state_opt(opt).map(drop),
            Node::PoolOpt(opt) => self.pool_opt(opt, &mut so_far.pool),
            Node::QueueNames(names) => self.queue_names(names).map(drop),
            Node::RouteSpec(pool, at) => {
                self.pool(pool)?;
                if so_far.filter.route_kind.is_some() {
                    return self.fail(*at, pool.span, "cannot respecify route-to/reply-to/dup-to");
                }
                Ok(())
            }
            Node::AnchorName(arg) => self.anchor_name(arg).map(drop),
            Node::AntispoofOpt(opt) => self.antispoof_opt(opt, &mut so_far.label, &mut so_far.rtable),
            Node::TableOpt(opt) => self.table_opt(opt, &mut so_far.table),
            Node::QueueOpt(opt) => self.queue_opt(opt, &mut so_far.queue),
            Node::Curve(curve) => self.curve(curve).map(drop),
            Node::Timeout(item) => self.timeout(item),
            Node::Limit(item) => self.limit(item),
            Node::Watermark(mark) => self.watermark(mark, &mut so_far.marks),
            Node::Stmt(stmt) => self.statement(stmt, heads, sources),
        }
    }

    fn leaf(&mut self, leaf: Leaf, arg: &crate::ast::Arg) -> Act {
        match leaf {
            Leaf::Port => self.port_word(arg, PortForm::Range).map(drop),
            Leaf::PoolPort => self.port_word(arg, PortForm::Star).map(drop),
            Leaf::DivertPort => self.port_word(arg, PortForm::Plain).map(drop),
            Leaf::User => self.id(arg, IdKind::User).map(drop),
            Leaf::Group => self.id(arg, IdKind::Group).map(drop),
            Leaf::Flags => self.flag_set(arg).map(drop),
            Leaf::IcmpType => self.icmp_kind(arg, false).map(drop),
            Leaf::Icmp6Type => self.icmp_kind(arg, true).map(drop),
            Leaf::Tos => self.tos(arg).map(drop),
            Leaf::Probability => self.probability_value(arg).map(drop),
            Leaf::ReturnIcmp => self.return_code(arg, false).map(drop),
            Leaf::ReturnIcmp6 => self.return_code(arg, true).map(drop),
            Leaf::Weight => self.weight(arg).map(drop),
            Leaf::YesNo => self.yes_no(arg).map(drop),
            Leaf::HostId => self.number(arg).map(drop),
            Leaf::RulesetOptimization => self.optimizer_level(arg).map(drop),
            Leaf::Syncookies => self.syncookie_mode(arg).map(drop),
            Leaf::Bandwidth => self.bandwidth(arg).map(drop),
            Leaf::HashKey => Ok(()),
        }
    }
}
