//! An allocator that fails when told to: the one place of the tests with unsafe code.
//!
//! Counts what one thread allocates while it is armed, and refuses from the n-th on. Other threads are served as ever.

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::{Cell, RefCell};
use std::hash::{Hash, Hasher};

thread_local! {
    /// Allocations still granted; `None` while nobody counts.
    static LEFT: Cell<Option<u32>> = const { Cell::new(None) };
    static ASKED: Cell<u32> = const { Cell::new(0) };
    /// What becomes of the driver's allocations.
    static PLAN: Cell<Plan> = const { Cell::new(Plan::Off) };
    /// How many of them there were, and whether one was refused.
    static COUNT: Cell<(usize, bool)> = const { Cell::new((0, false)) };
    /// Allocations of this thread less those it gave back.
    static LIVE: Cell<i64> = const { Cell::new(0) };
    static STACKS: RefCell<Vec<u64>> = const { RefCell::new(Vec::new()) };
}

/// What becomes of allocations made by the driver's code ([`ndismock::inside`]).
#[derive(Clone, Copy)]
enum Plan {
    Off,
    /// Their call stacks are written down.
    Record,
    /// This one is refused.
    At(usize),
    /// All from this one on are refused.
    From(usize),
}

/// The system's allocator, with a limit that can be set.
#[derive(Debug)]
pub struct Failing;

/// Whether this allocation is granted.
fn granted() -> bool {
    LEFT.try_with(|left| match left.get() {
        None => true,
        Some(n) => {
            let _ = ASKED.try_with(|a| a.set(a.get() + 1));
            left.set(Some(n.saturating_sub(1)));
            n > 0
        }
    })
    .unwrap_or(true)
}

/// Whether an allocation of the driver's is granted: asked by the allocator, and by the mock for what NDIS gives.
pub fn driver_granted() -> bool {
    let plan = PLAN.try_with(Cell::get).unwrap_or(Plan::Off);
    if matches!(plan, Plan::Off) || !ndismock::inside::is_driver() {
        return true;
    }
    let (n, refused) = COUNT.get();
    let granted = match plan {
        Plan::Off => true,
        Plan::Record => {
            PLAN.set(Plan::Off);
            let stack = std::backtrace::Backtrace::force_capture().to_string();
            let mut hasher = std::hash::DefaultHasher::new();
            stack.hash(&mut hasher);
            STACKS.with_borrow_mut(|all| all.push(hasher.finish()));
            drop(stack);
            PLAN.set(Plan::Record);
            true
        }
        Plan::At(at) => n != at,
        Plan::From(at) => n < at,
    };
    COUNT.set((n + 1, refused || !granted));
    granted
}

fn planned(plan: Plan, f: impl FnOnce()) -> bool {
    COUNT.set((0, false));
    PLAN.set(plan);
    f();
    PLAN.set(Plan::Off);
    COUNT.get().1
}

/// A number for the call stack of each allocation of the driver's in `f`, in order.
pub fn stacks(f: impl FnOnce()) -> Vec<u64> {
    planned(Plan::Record, f);
    STACKS.take()
}

/// Runs `f` with the driver's n-th allocation refused; whether it came to that.
pub fn failing_at(n: usize, f: impl FnOnce()) -> bool {
    planned(Plan::At(n), f)
}

/// Runs `f` with the driver's allocations refused from the n-th on; whether it came to that.
pub fn failing_from(n: usize, f: impl FnOnce()) -> bool {
    planned(Plan::From(n), f)
}

/// Allocations of this thread that are not given back.
#[must_use]
pub fn live() -> i64 {
    LIVE.get()
}

fn lives(by: i64) {
    let _ = LIVE.try_with(|live| live.set(live.get() + by));
}

/// Runs `f` with no more than `limit` allocations; gives what it gives, and how many it asked for.
pub fn with_allocations<T>(limit: u32, f: impl FnOnce() -> T) -> (T, u32) {
    ASKED.with(|a| a.set(0));
    LEFT.with(|left| left.set(Some(limit)));
    let out = f();
    LEFT.with(|left| left.set(None));
    (out, ASKED.with(Cell::get))
}

// SAFETY: everything is the system allocator's own, or a null pointer, which the contract allows for any request.
unsafe impl GlobalAlloc for Failing {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        if !granted() || !driver_granted() {
            return std::ptr::null_mut();
        }
        lives(1);
        // SAFETY: the caller keeps the contract of `alloc`.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, at: *mut u8, layout: Layout) {
        lives(-1);
        // SAFETY: `at` came from the system's allocator with this layout.
        unsafe { System.dealloc(at, layout) }
    }

    unsafe fn realloc(&self, at: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        if !granted() || !driver_granted() {
            return std::ptr::null_mut();
        }
        // SAFETY: the caller keeps the contract of `realloc`.
        unsafe { System.realloc(at, layout, size) }
    }
}
