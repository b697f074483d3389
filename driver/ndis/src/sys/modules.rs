//! Values whose address NDIS keeps as a context.

use core::ptr::NonNull;

use crate::os::Supplies;

/// The address of a value that outlives its use: a module until it is detached, the driver until it is unloaded.
#[derive(Debug)]
pub struct Ref<T>(NonNull<T>);

impl<T> Clone for Ref<T> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<T> Copy for Ref<T> {}

impl<T> PartialEq for Ref<T> {
    fn eq(&self, other: &Self) -> bool {
        self.0 == other.0
    }
}

impl<T> Eq for Ref<T> {}

// SAFETY: it is no more than a reference to a value that threads share.
unsafe impl<T: Sync> Send for Ref<T> {}
// SAFETY: as above.
unsafe impl<T: Sync> Sync for Ref<T> {}

impl<T> Ref<T> {
    /// The address of a value. **Invariant:** the value stays where it is while the address is used: NDIS calls no
    /// handler of a module after its detach and none of a driver after it deregistered.
    pub fn of(value: &T) -> Self {
        Self(NonNull::from(value))
    }

    /// The context NDIS was given.
    ///
    /// # Safety
    /// The pointer is one of [`Ref::as_ptr`]'s, of a value that is still there.
    pub unsafe fn from_raw(context: *mut core::ffi::c_void) -> Option<Self> {
        NonNull::new(context.cast()).map(Self)
    }

    /// As a context.
    #[must_use]
    pub const fn as_ptr(self) -> *mut core::ffi::c_void {
        self.0.as_ptr().cast()
    }

    /// The value.
    #[must_use]
    pub fn get(&self) -> &T {
        // SAFETY: the invariant of `of`.
        unsafe { self.0.as_ref() }
    }
}

/// A value in memory of its own.
#[derive(Debug)]
#[must_use]
pub struct Owned<T>(NonNull<T>);

impl<T> Owned<T> {
    /// Puts a value into memory of its own.
    ///
    /// # Errors
    /// The value, when there is no memory.
    pub fn new<O: Supplies>(os: &O, value: T) -> Result<Self, T> {
        const { assert!(align_of::<T>() <= 16, "memory is 16-aligned") };
        match NonNull::new(os.new_memory(size_of::<T>()).cast::<T>()) {
            Some(at) => {
                // SAFETY: the memory is new, long enough and aligned.
                unsafe { at.write(value) };
                Ok(Self(at))
            }
            None => Err(value),
        }
    }

    /// Its address.
    pub const fn share(&self) -> Ref<T> {
        Ref(self.0)
    }

    /// Its owner is from now on whoever has the address.
    pub fn keep(self) {
        let Self(_kept) = self;
    }

    /// The owner again, of a kept value.
    pub const fn of(kept: Ref<T>) -> Self {
        Self(kept.0)
    }

    /// Takes the value out and gives the memory back.
    pub fn take<O: Supplies>(self, os: &O) -> T {
        // SAFETY: the value is there, and this is its owner.
        let value = unsafe { self.0.read() };
        os.free_memory(self.0.as_ptr().cast(), size_of::<T>());
        value
    }
}
