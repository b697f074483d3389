//! Structures as NDIS lays them out, each field's place asserted.
//!
//! Written from measured facts, not from headers. A structure's `SIZE` is what `Header.Size` holds for the revision
//! used here: the end of its last field, without padding behind it.

use core::ffi::c_void;

use super::code::Status;

/// A pointer to something of somebody else's.
pub type Ptr = *mut c_void;

/// `NDIS_HANDLE`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(transparent)]
pub struct Handle(pub Ptr);

// SAFETY: a handle is a number to everybody but NDIS.
unsafe impl Send for Handle {}
// SAFETY: as above.
unsafe impl Sync for Handle {}

impl Handle {
    /// No handle.
    pub const NONE: Self = Self(core::ptr::null_mut());

    /// Whether it is none.
    #[must_use]
    pub const fn is_none(self) -> bool {
        self.0.is_null()
    }
}

/// A structure with the place of every field, held to them when compiled.
macro_rules! layout {
    ($($(#[$doc:meta])* $name:ident: $size:literal / $align:literal $(in $repr:literal)? {
        $($(#[$fdoc:meta])* $field:ident: $type:ty = $at:literal,)*
    })*) => {$(
        $(#[$doc])*
        #[derive(Clone, Copy, Debug)]
        #[repr(C $(, align($repr))?)]
        pub struct $name {
            $($(#[$fdoc])* pub $field: $type,)*
        }
        const _: () = {
            assert!(core::mem::size_of::<$name>() == $size);
            assert!(core::mem::align_of::<$name>() == $align);
            $(assert!(core::mem::offset_of!($name, $field) == $at);)*
        };
    )*};
}

pub(crate) use layout;

layout! {
    /// `NDIS_OBJECT_HEADER`.
    Header: 4 / 2 {
        /// Kind of object.
        kind: u8 = 0,
        /// Revision.
        revision: u8 = 1,
        /// Bytes of the revision.
        size: u16 = 2,
    }

    /// `LOCK_STATE_EX`: how a reader-writer lock was taken.
    LockState: 3 / 1 {
        /// The level to go back to.
        level: u8 = 0,
        /// NDIS's own.
        state: u8 = 1,
        /// NDIS's own.
        flags: u8 = 2,
    }

    /// `UNICODE_STRING`: lengths in bytes.
    UnicodeString: 16 / 8 {
        /// Bytes used.
        length: u16 = 0,
        /// Bytes there are.
        maximum: u16 = 2,
        /// Characters.
        buffer: *mut u16 = 8,
    }

    /// What the characteristics of every driver begin with.
    Registered: 8 / 2 {
        /// Revision 2, its size.
        header: Header = 0,
        /// Of NDIS: 6.
        major: u8 = 4,
        /// 30.
        minor: u8 = 5,
        /// Driver's own.
        driver_major: u8 = 6,
        /// Driver's own.
        driver_minor: u8 = 7,
    }

    /// `NDIS_FILTER_DRIVER_CHARACTERISTICS`, of which revision 2 (NDIS 6.30) ends at 224.
    FilterCharacteristics: 240 / 8 {
        /// 224 bytes.
        head: Registered = 0,
        /// `NDIS_FILTER_DRIVER_MANDATORY` and its like.
        flags: u32 = 8,
        /// Shown to people.
        friendly_name: UnicodeString = 16,
        /// The identifier of the INF, a GUID in braces.
        unique_name: UnicodeString = 32,
        /// Name of the service.
        service_name: UnicodeString = 48,
        /// See `FilterSetOptions`.
        set_options: Option<unsafe extern "C" fn(Handle, Handle) -> Status> = 64,
        /// See `FilterSetModuleOptions`.
        set_module_options: Option<unsafe extern "C" fn(Handle) -> Status> = 72,
        /// `FilterAttach`.
        attach: Option<unsafe extern "C" fn(Handle, Handle, *mut AttachParameters) -> Status> = 80,
        /// `FilterDetach`.
        detach: Option<unsafe extern "C" fn(Handle)> = 88,
        /// `FilterRestart`.
        restart: Option<unsafe extern "C" fn(Handle, *mut RestartParameters) -> Status> = 96,
        /// `FilterPause`.
        pause: Option<unsafe extern "C" fn(Handle, *mut PauseParameters) -> Status> = 104,
        /// `FilterSendNetBufferLists`.
        send: Option<unsafe extern "C" fn(Handle, *mut NetBufferList, u32, u32)> = 112,
        /// `FilterSendNetBufferListsComplete`.
        send_complete: Option<unsafe extern "C" fn(Handle, *mut NetBufferList, u32)> = 120,
        /// `FilterCancelSendNetBufferLists`.
        cancel_send: Option<unsafe extern "C" fn(Handle, Ptr)> = 128,
        /// `FilterReceiveNetBufferLists`.
        receive: Option<unsafe extern "C" fn(Handle, *mut NetBufferList, u32, u32, u32)> = 136,
        /// `FilterReturnNetBufferLists`.
        give_back: Option<unsafe extern "C" fn(Handle, *mut NetBufferList, u32)> = 144,
        /// `FilterOidRequest`.
        oid: Option<unsafe extern "C" fn(Handle, *mut OidRequest) -> Status> = 152,
        /// `FilterOidRequestComplete`.
        oid_complete: Option<unsafe extern "C" fn(Handle, *mut OidRequest, Status)> = 160,
        /// `FilterCancelOidRequest`.
        cancel_oid: Option<unsafe extern "C" fn(Handle, Ptr)> = 168,
        /// `FilterDevicePnPEventNotify`.
        device_event: Option<unsafe extern "C" fn(Handle, Ptr)> = 176,
        /// `FilterNetPnPEvent`.
        net_event: Option<unsafe extern "C" fn(Handle, Ptr) -> Status> = 184,
        /// `FilterStatus`.
        status: Option<unsafe extern "C" fn(Handle, *mut StatusIndication)> = 192,
        /// `FilterDirectOidRequest`.
        direct_oid: Option<unsafe extern "C" fn(Handle, *mut OidRequest) -> Status> = 200,
        /// `FilterDirectOidRequestComplete`.
        direct_oid_complete: Option<unsafe extern "C" fn(Handle, *mut OidRequest, Status)> = 208,
        /// `FilterCancelDirectOidRequest`.
        cancel_direct_oid: Option<unsafe extern "C" fn(Handle, Ptr)> = 216,
        /// NDIS 6.80, not used.
        synchronous_oid: usize = 224,
        /// NDIS 6.80, not used.
        synchronous_oid_complete: usize = 232,
    }

    /// `NDIS_FILTER_ATTACH_PARAMETERS`.
    AttachParameters: 224 / 8 {
        /// Revision 4 is 224 bytes, 3 is 200.
        header: Header = 0,
        /// Index of the filter module's own interface.
        if_index: u32 = 4,
        /// Its LUID.
        luid: u64 = 8,
        /// Name of the module.
        module_guid: *mut UnicodeString = 16,
        /// Index of the adapter's interface.
        base_if_index: u32 = 24,
        /// Friendly name of the adapter.
        base_instance_name: *mut UnicodeString = 32,
        /// `\DEVICE\{GUID}` of the adapter.
        base_name: *mut UnicodeString = 40,
        /// `NET_IF_MEDIA_CONNECT_STATE`.
        connect: i32 = 48,
        /// `NET_IF_MEDIA_DUPLEX_STATE`.
        duplex: i32 = 52,
        /// Bits a second.
        xmit_speed: u64 = 56,
        /// Bits a second.
        rcv_speed: u64 = 64,
        /// `NDIS_MEDIUM`.
        medium: i32 = 72,
        /// `NDIS_PHYSICAL_MEDIUM`.
        physical_medium: i32 = 76,
        /// Of the medium.
        media_specific: Ptr = 80,
        /// `NDIS_OFFLOAD` in force.
        offload: *mut Offload = 88,
        /// Bytes of the address.
        mac_length: u16 = 96,
        /// The address.
        mac: [u8; 32] = 98,
        /// LUID of the adapter.
        base_luid: u64 = 136,
        /// Interface below.
        lower_if_index: u32 = 144,
        /// Its LUID.
        lower_luid: u64 = 152,
        /// `NDIS_FILTER_ATTACH_FLAGS_IGNORE_MANDATORY`.
        flags: u32 = 160,
        /// Header-data split.
        hd_split: Ptr = 168,
        /// Receive filters.
        receive_filter: Ptr = 176,
        /// The adapter's device.
        physical_device: Ptr = 184,
        /// Switch.
        nic_switch: Ptr = 192,
        /// Whether there is a connector.
        connector: u8 = 200,
        /// SR-IOV.
        sriov: Ptr = 208,
        /// Switches.
        nic_switches: Ptr = 216,
    }

    /// `NDIS_FILTER_ATTRIBUTES`.
    FilterAttributes: 8 / 4 {
        /// Revision 1.
        header: Header = 0,
        /// None are defined.
        flags: u32 = 4,
    }

    /// `NDIS_FILTER_PAUSE_PARAMETERS`.
    PauseParameters: 12 / 4 {
        /// Revision 1.
        header: Header = 0,
        /// None are defined.
        flags: u32 = 4,
        /// Why.
        reason: u32 = 8,
    }

    /// `NDIS_FILTER_RESTART_PARAMETERS`.
    RestartParameters: 48 / 8 {
        /// Revision 1.
        header: Header = 0,
        /// `NDIS_MEDIUM`.
        medium: i32 = 4,
        /// `NDIS_PHYSICAL_MEDIUM`.
        physical_medium: i32 = 8,
        /// Attributes, a chain.
        attributes: Ptr = 16,
        /// Interface below.
        lower_if_index: u32 = 24,
        /// Its LUID.
        lower_luid: u64 = 32,
        /// None are defined.
        flags: u32 = 40,
    }

    /// `MDL`: a piece of memory.
    Mdl: 48 / 8 {
        /// The next piece.
        next: *mut Mdl = 0,
        /// Bytes of this record with the pages behind it.
        size: i16 = 8,
        /// `MDL_…`.
        flags: i16 = 10,
        /// Owner.
        process: Ptr = 16,
        /// Where it is mapped, when `flags` say so.
        mapped: *mut u8 = 24,
        /// Page it begins in.
        start: *mut u8 = 32,
        /// Bytes.
        count: u32 = 40,
        /// Offset in the page.
        offset: u32 = 44,
    }

    /// `NET_BUFFER`: one frame.
    NetBuffer: 176 / 16 in 16 {
        /// The next frame of the list.
        next: *mut NetBuffer = 0,
        /// The piece the data begin in.
        current_mdl: *mut Mdl = 8,
        /// Where in it.
        current_mdl_offset: u32 = 16,
        /// Nothing.
        padding: u32 = 20,
        /// Bytes of the frame.
        length: u32 = 24,
        /// High half of `stDataLength`, nothing.
        length_high: u32 = 28,
        /// All pieces.
        mdl_chain: *mut Mdl = 32,
        /// Where in them the data begin.
        offset: u32 = 40,
        /// Nothing.
        padding2: u32 = 44,
        /// For the card.
        checksum_bias: u16 = 48,
        /// Nothing.
        reserved: u16 = 50,
        /// Pool.
        pool: Handle = 56,
        /// NDIS's own.
        ndis: [Ptr; 2] = 64,
        /// The sender's own.
        protocol: [Ptr; 6] = 80,
        /// The card's own.
        miniport: [Ptr; 4] = 128,
        /// The card's own.
        physical: i64 = 160,
        /// The card's own.
        shared: Ptr = 168,
    }

    /// `NET_BUFFER_LIST` with the places of out-of-band data that NDIS 6.30 has. Later ones have more behind these:
    /// NDIS allocates lists, never we.
    NetBufferList: 336 / 16 in 16 {
        /// The next list of the chain.
        next: *mut NetBufferList = 0,
        /// Its first frame.
        first: *mut NetBuffer = 8,
        /// Context, a chain.
        context: *mut ListContext = 16,
        /// What it was cloned from.
        parent: *mut NetBufferList = 24,
        /// Pool.
        pool: Handle = 32,
        /// Nothing.
        padding: usize = 40,
        /// NDIS's own.
        ndis: [Ptr; 2] = 48,
        /// The sender's own.
        protocol: [Ptr; 4] = 64,
        /// The card's own.
        miniport: [Ptr; 2] = 96,
        /// The present owner's own.
        scratch: Ptr = 112,
        /// Who made it.
        source: Handle = 120,
        /// `NDIS_NBL_FLAGS_…`.
        nbl_flags: u32 = 128,
        /// How many were made of it.
        children: i32 = 132,
        /// Several owners' bits.
        flags: u32 = 136,
        /// What became of it.
        status: Status = 140,
        /// Out-of-band data.
        info: [Ptr; 24] = 144,
    }

    /// `NET_BUFFER_LIST_CONTEXT`, with the data behind it.
    ListContext: 16 / 16 in 16 {
        /// The next one.
        next: *mut ListContext = 0,
        /// Bytes of data.
        size: u16 = 8,
        /// Where the data used begin.
        offset: u16 = 10,
    }

    /// `NET_BUFFER_LIST_POOL_PARAMETERS`, of which revision 1 ends at 16.
    ListPoolParameters: 20 / 4 {
        /// Revision 1, 16 bytes.
        header: Header = 0,
        /// `NDIS_PROTOCOL_ID_…`.
        protocol: u8 = 4,
        /// A frame with each list.
        with_buffer: u8 = 5,
        /// Bytes of context.
        context: u16 = 6,
        /// Tag.
        tag: u32 = 8,
        /// Bytes of data.
        data: u32 = 12,
        /// NDIS 6.87, not used.
        flags: u32 = 16,
    }

    /// `NDIS_OID_REQUEST`; `data` begins with the OID.
    OidRequest: 248 / 8 {
        /// Revision 1 ends at 236, revision 2 at 248.
        header: Header = 0,
        /// `NDIS_REQUEST_TYPE`.
        kind: i32 = 4,
        /// Port.
        port: u32 = 8,
        /// Seconds.
        timeout: u32 = 12,
        /// For cancelling.
        id: Ptr = 16,
        /// NDIS's own.
        handle: Handle = 24,
        /// What is asked.
        oid: u32 = 32,
        /// Where the answer goes.
        buffer: Ptr = 40,
        /// Bytes of it.
        length: u32 = 48,
        /// Of a query bytes written, of a set bytes read, of a method bytes there are for the answer.
        done: u32 = 52,
        /// Of query and set bytes needed, of a method its number.
        needed: u32 = 56,
        /// Of a method bytes written.
        method_written: u32 = 60,
        /// Of a method bytes read.
        method_read: u32 = 64,
        /// Of a method bytes needed.
        method_needed: u32 = 68,
        /// NDIS's own.
        ndis: [u64; 16] = 72,
        /// The card's own.
        miniport: [u64; 2] = 200,
        /// The sender's own.
        source: [Ptr; 2] = 216,
        /// What the card supports.
        supported_revision: u8 = 232,
        /// Nothing.
        reserved: u8 = 233,
        /// Nothing.
        reserved2: u16 = 234,
        /// Revision 2.
        switch: u32 = 236,
        /// Revision 2.
        vport: u32 = 240,
        /// Revision 2.
        flags: u32 = 244,
    }

    /// `NDIS_STATUS_INDICATION`.
    StatusIndication: 112 / 8 {
        /// Revision 1.
        header: Header = 0,
        /// Who says it.
        source: Handle = 8,
        /// Port.
        port: u32 = 16,
        /// `NDIS_STATUS_…`.
        code: Status = 20,
        /// Flags.
        flags: u32 = 24,
        /// For whom.
        destination: Handle = 32,
        /// Of which request.
        request: Ptr = 40,
        /// What.
        buffer: Ptr = 48,
        /// Bytes of it.
        length: u32 = 56,
        /// Of its own.
        guid: [u8; 16] = 60,
        /// NDIS's own.
        ndis: [Ptr; 4] = 80,
    }

    /// `NDIS_DEVICE_OBJECT_ATTRIBUTES`.
    DeviceAttributes: 56 / 8 {
        /// Revision 1.
        header: Header = 0,
        /// `\Device\…`.
        device: *mut UnicodeString = 8,
        /// `\DosDevices\…`.
        symbolic: *mut UnicodeString = 16,
        /// 28 entry points.
        major: Ptr = 24,
        /// Bytes of extension.
        extension: u32 = 32,
        /// Who may open it.
        sddl: *const UnicodeString = 40,
        /// Its class.
        class: Ptr = 48,
    }

    /// `IRP`, as far as a buffered request is concerned.
    Irp: 208 / 16 in 16 {
        /// Kind and size, memory described.
        head: [usize; 3] = 0,
        /// `AssociatedIrp.SystemBuffer`: the request, then the answer.
        buffer: *mut u8 = 24,
        /// Not used.
        thread_list: [usize; 2] = 32,
        /// What becomes of it.
        status: Status = 48,
        /// Bytes of answer.
        information: usize = 56,
        /// Not used.
        modes: [usize; 5] = 64,
        /// Cancel routine.
        cancel: usize = 104,
        /// Not used.
        tail: [usize; 9] = 112,
        /// `Tail.Overlay.CurrentStackLocation`.
        current: *mut StackLocation = 184,
        /// `Tail.Overlay.OriginalFileObject`.
        original: Ptr = 192,
    }

    /// `IO_STACK_LOCATION` of a request with a code.
    StackLocation: 72 / 8 {
        /// `IRP_MJ_…`.
        major: u8 = 0,
        /// Minor.
        minor: u8 = 1,
        /// Flags.
        flags: u8 = 2,
        /// Control.
        control: u8 = 3,
        /// Nothing.
        padding0: u32 = 4,
        /// `OutputBufferLength`.
        output: u32 = 8,
        /// Nothing.
        padding: u32 = 12,
        /// `InputBufferLength`.
        input: u32 = 16,
        /// Nothing.
        padding2: u32 = 20,
        /// `IoControlCode`.
        code: u32 = 24,
        /// Nothing.
        padding3: u32 = 28,
        /// Not used.
        type3: Ptr = 32,
        /// Device.
        device: Ptr = 40,
        /// What was opened.
        file: *mut FileObject = 48,
        /// Not used.
        completion: usize = 56,
        /// Not used.
        context: Ptr = 64,
    }

    /// `FILE_OBJECT`, its head.
    FileObject: 40 / 8 {
        /// Kind, size, device, volume.
        head: [usize; 3] = 0,
        /// The driver's own.
        context: usize = 24,
        /// The driver's own.
        context2: usize = 32,
    }

    /// `NDIS_OFFLOAD`, as far as it is read here.
    Offload: 108 / 4 {
        /// Revision 3 and newer for NDIS 6.30.
        header: Header = 0,
        /// Checksums: IPv4 and IPv6, sent and received.
        checksum: [u32; 8] = 4,
        /// Large send of version 1.
        lso_v1: [u32; 4] = 36,
        /// IPsec.
        ipsec: [u32; 7] = 52,
        /// Large send of version 2: encapsulation, longest, fewest segments of IPv4, the same of IPv6, its options.
        lso_v2: [u32; 7] = 80,
    }
}

impl Registered {
    /// Of a driver written for NDIS 6.30: revision 2 of its characteristics, so many bytes.
    #[must_use]
    pub const fn new(kind: u8, size: u16) -> Self {
        Self { header: Header { kind, revision: 2, size }, major: 6, minor: 30, driver_major: 0, driver_minor: 1 }
    }
}

/// `Header.Size` of what this driver makes.
pub mod size {
    /// [`super::FilterCharacteristics`], revision 2.
    pub const FILTER_CHARACTERISTICS: u16 = 224;
    /// [`super::FilterAttributes`], revision 1.
    pub const FILTER_ATTRIBUTES: u16 = 8;
    /// [`super::ListPoolParameters`], revision 1.
    pub const LIST_POOL: u16 = 16;
    /// [`super::DeviceAttributes`], revision 1.
    pub const DEVICE_ATTRIBUTES: u16 = 56;
    /// [`super::AttachParameters`], revision 3: NDIS 6.20.
    pub const ATTACH_6_20: u16 = 200;
}

const _: () =
    assert!(core::mem::offset_of!(FilterCharacteristics, synchronous_oid) == size::FILTER_CHARACTERISTICS as usize);
const _: () = assert!(core::mem::offset_of!(ListPoolParameters, flags) == size::LIST_POOL as usize);
const _: () = assert!(core::mem::offset_of!(AttachParameters, sriov) > size::ATTACH_6_20 as usize);
const _: () = assert!(core::mem::size_of::<ListContext>() == 16, "data begin behind the padded header");
