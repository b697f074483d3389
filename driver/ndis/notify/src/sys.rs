//! The COM server: class factory, notify object, registration. All unsafe code of this library.
//!
//! Windows serialises the calls of one object; a mutex holds all the same.

use core::ffi::c_void;
use std::sync::Mutex;
use std::sync::atomic::{AtomicIsize, Ordering};

use windows::Win32::Devices::DeviceAndDriverInstallation::GUID_DEVCLASS_NET;
use windows::Win32::Foundation::{
    CLASS_E_CLASSNOTAVAILABLE, CLASS_E_NOAGGREGATION, E_POINTER, E_UNEXPECTED, ERROR_SUCCESS, HMODULE, S_FALSE, S_OK,
};
use windows::Win32::NetworkManagement::NetManagement::{
    IEnumNetCfgComponent, INetCfg, INetCfgBindingPath, INetCfgClassSetup, INetCfgComponent, INetCfgComponentControl,
    INetCfgComponentControl_Impl, INetCfgComponentNotifyBinding, INetCfgComponentNotifyBinding_Impl,
    INetCfgComponentNotifyGlobal, INetCfgComponentNotifyGlobal_Impl, INetCfgComponentSetup, INetCfgComponentSetup_Impl,
    INetCfgPnpReconfigCallback, NCRL_NDIS, NETCFG_S_DISABLE_QUERY,
};
use windows::Win32::System::Com::{CoTaskMemFree, IClassFactory, IClassFactory_Impl};
use windows::Win32::System::LibraryLoader::{
    GET_MODULE_HANDLE_EX_FLAG_FROM_ADDRESS, GET_MODULE_HANDLE_EX_FLAG_UNCHANGED_REFCOUNT, GetModuleFileNameW,
    GetModuleHandleExW,
};
use windows::Win32::System::Registry::{
    HKEY_LOCAL_MACHINE, REG_MULTI_SZ, REG_SZ, RRF_RT_REG_MULTI_SZ, RegDeleteTreeW, RegGetValueW, RegSetKeyValueW,
};
use windows_core::{BOOL, Error, GUID, HRESULT, HSTRING, IUnknown, Interface, PCWSTR, PWSTR, Ref, Result, implement, w};

use crate::names;
use crate::rules::{self, Deed, End};

/// The class, as the protocol's INF names it.
const CLASS: GUID = GUID::from_u128(0x9C5B_8E1E_5C0D_4E0B_8F0C_6B1D_2A7F_4E31);
/// Where classes are registered.
const CLASSES: &str = r"SOFTWARE\Classes\CLSID";
/// `NCN_NET | NCN_NETTRANS | NCN_BINDING_PATH | NCN_ADD | NCN_REMOVE | NCN_ENABLE | NCN_DISABLE`.
const NOTIFICATIONS: u32 = 0x1_0000 | 0x2_0000 | 0x100 | 1 | 2 | 0x10 | 0x20;

/// Objects and locks there are.
static ALIVE: AtomicIsize = AtomicIsize::new(0);

/// Counts something that keeps the library loaded.
struct Counted;

impl Counted {
    fn new() -> Self {
        ALIVE.fetch_add(1, Ordering::AcqRel);
        Self
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        ALIVE.fetch_sub(1, Ordering::AcqRel);
    }
}

/// What is to be applied.
#[derive(Default)]
struct Plan {
    netcfg: Option<INetCfg>,
    /// Adapters and the miniports made for them.
    added: Vec<(u128, u128)>,
    /// Adapters whose miniports went.
    removed: Vec<u128>,
}

/// The notify object.
#[implement(
    INetCfgComponentControl,
    INetCfgComponentSetup,
    INetCfgComponentNotifyBinding,
    INetCfgComponentNotifyGlobal
)]
struct Notify {
    plan: Mutex<Plan>,
    _counted: Counted,
}

impl Notify {
    fn plan<T>(&self, f: impl FnOnce(&mut Plan) -> T) -> T {
        f(&mut self.plan.lock().unwrap_or_else(std::sync::PoisonError::into_inner))
    }
}

/// A text that COM allocated: read, then freed.
fn text(allocated: PWSTR) -> String {
    if allocated.is_null() {
        return String::new();
    }
    // SAFETY: a text of a component ends with a zero.
    let read = unsafe { allocated.to_string() }.unwrap_or_default();
    // SAFETY: the text was given to this caller to free.
    unsafe { CoTaskMemFree(Some(allocated.as_ptr().cast_const().cast())) };
    read
}

/// A component as an end of a path.
fn end(component: &INetCfgComponent) -> Result<End> {
    let mut id = PWSTR::null();
    // SAFETY: the place lives through the call.
    unsafe { component.GetId(Some(&raw mut id)) }?;
    // SAFETY: no arguments.
    let characteristics = unsafe { component.GetCharacteristics() }?;
    Ok(End { id: text(id), characteristics })
}

fn identifier(component: &INetCfgComponent) -> Result<u128> {
    let mut guid = GUID::zeroed();
    // SAFETY: the place lives through the call.
    unsafe { component.GetInstanceGuid(Some(&raw mut guid)) }?;
    Ok(guid.to_u128())
}

/// Upper and lower component of a path's first interface.
fn ends(path: Ref<'_, INetCfgBindingPath>) -> Result<(INetCfgComponent, INetCfgComponent)> {
    let path = path.ok()?;
    let mut interfaces = None;
    // SAFETY: the place lives through the call.
    unsafe { path.EnumBindingInterfaces(Some(&raw mut interfaces)) }?;
    let interfaces = interfaces.ok_or(E_UNEXPECTED)?;
    let mut first = [None];
    // SAFETY: the place lives through the call.
    unsafe { interfaces.Next(&mut first, None) }?;
    let [interface] = first;
    let interface = interface.ok_or(E_UNEXPECTED)?;
    let (mut upper, mut lower) = (None, None);
    // SAFETY: the place lives through the call.
    unsafe { interface.GetUpperComponent(Some(&raw mut upper)) }?;
    // SAFETY: the place lives through the call.
    unsafe { interface.GetLowerComponent(Some(&raw mut lower)) }?;
    Ok((upper.ok_or(E_UNEXPECTED)?, lower.ok_or(E_UNEXPECTED)?))
}

/// What installs and removes adapters.
fn setup(netcfg: &INetCfg) -> Result<INetCfgClassSetup> {
    let mut raw: *mut c_void = core::ptr::null_mut();
    // SAFETY: identifiers and place live through the call.
    unsafe { netcfg.QueryNetCfgClass(&GUID_DEVCLASS_NET, &INetCfgClassSetup::IID, Some(&raw mut raw)) }?;
    if raw.is_null() {
        return Err(E_UNEXPECTED.into());
    }
    // SAFETY: the call gave an interface of this kind, owned by the caller.
    Ok(unsafe { INetCfgClassSetup::from_raw(raw) })
}

/// Makes a miniport and gives its identifier.
fn install(netcfg: &INetCfg) -> Result<u128> {
    let setup = setup(netcfg)?;
    let mut miniport = None;
    let id = HSTRING::from(rules::MINIPORT);
    // SAFETY: name and place live through the call; there is no answer file.
    unsafe { setup.Install(&id, None, None, None, PCWSTR::null(), PCWSTR::null(), Some(&raw mut miniport)) }?;
    let miniport = miniport.ok_or(E_UNEXPECTED)?;
    identifier(&miniport).inspect_err(|_| {
        // SAFETY: the component was just made.
        let _gone = unsafe { setup.DeInstall(&miniport, None, None) };
    })
}

/// Removes a miniport, when it is there.
fn remove(netcfg: &INetCfg, miniport: u128) -> Result<()> {
    let mut all: Option<IEnumNetCfgComponent> = None;
    // SAFETY: identifier and place live through the call.
    unsafe { netcfg.EnumComponents(&GUID_DEVCLASS_NET, Some(&raw mut all)) }?;
    let all = all.ok_or(E_UNEXPECTED)?;
    loop {
        let mut next = [None];
        // SAFETY: the place lives through the call. At the end it gives nothing.
        let _status = unsafe { all.Next(&mut next, None) };
        let [Some(component)] = next else { return Ok(()) };
        if identifier(&component)? == miniport {
            // SAFETY: the component is there.
            return unsafe { setup(netcfg)?.DeInstall(&component, None, None) };
        }
    }
}

/// The miniport of an adapter, as it was written.
fn written(adapter: u128) -> Option<u128> {
    let (key, name) = (HSTRING::from(names::adapter_key(adapter)), HSTRING::from(names::UPPER));
    let mut value = [0_u16; 128];
    let mut bytes = u32::try_from(size_of_val(&value)).unwrap_or(0);
    let at: *mut c_void = value.as_mut_ptr().cast();
    // SAFETY: names, value and length live through the call.
    let status = unsafe {
        RegGetValueW(HKEY_LOCAL_MACHINE, &key, &name, RRF_RT_REG_MULTI_SZ, None, Some(at), Some(&raw mut bytes))
    };
    let length = usize::try_from(bytes).unwrap_or(0) / 2;
    (status == ERROR_SUCCESS).then(|| names::bound_miniport(value.get(..length)?)).flatten()
}

/// Writes a value, with its key when there is none.
fn write(key: &str, name: &HSTRING, kind: u32, value: &[u16]) -> Result<()> {
    let bytes = u32::try_from(size_of_val(value)).unwrap_or(0);
    let at: *const c_void = value.as_ptr().cast();
    // SAFETY: names and value live through the call, the value as long as is said.
    unsafe { RegSetKeyValueW(HKEY_LOCAL_MACHINE, &HSTRING::from(key), name, kind, Some(at), bytes) }.ok()
}

impl INetCfgComponentControl_Impl for Notify_Impl {
    fn Initialize(&self, _: Ref<'_, INetCfgComponent>, netcfg: Ref<'_, INetCfg>, _: BOOL) -> Result<()> {
        let netcfg = netcfg.ok()?.clone();
        self.plan(|plan| plan.netcfg = Some(netcfg));
        Ok(())
    }

    fn ApplyRegistryChanges(&self) -> Result<()> {
        let (added, removed) = self.plan(|plan| (plan.added.clone(), core::mem::take(&mut plan.removed)));
        for adapter in &removed {
            // What is not there need not go.
            // SAFETY: the name lives through the call.
            let _status =
                unsafe { RegDeleteTreeW(HKEY_LOCAL_MACHINE, &HSTRING::from(names::adapter_key(*adapter))) };
        }
        for (adapter, miniport) in &added {
            let name = HSTRING::from(names::UPPER);
            write(&names::adapter_key(*adapter), &name, REG_MULTI_SZ.0, &names::upper_bindings(*miniport))?;
        }
        if added.is_empty() && removed.is_empty() { Err(Error::from_hresult(S_FALSE)) } else { Ok(()) }
    }

    fn ApplyPnpChanges(&self, callback: Ref<'_, INetCfgPnpReconfigCallback>) -> Result<()> {
        if self.plan(|plan| core::mem::take(&mut plan.added)).is_empty() {
            return Err(Error::from_hresult(S_FALSE));
        }
        // The driver reads its configuration again. It may not run yet: then it reads it when it starts.
        let service = HSTRING::from(names::SERVICE);
        // SAFETY: the names live through the call; no data go with it.
        let _told = unsafe { callback.ok()?.SendPnpReconfig(NCRL_NDIS, &service, w!(""), core::ptr::null(), 0) };
        Ok(())
    }

    fn CancelChanges(&self) -> Result<()> {
        // What was installed meanwhile Windows takes back itself.
        self.plan(|plan| (plan.added, plan.removed) = (Vec::new(), Vec::new()));
        Ok(())
    }
}

impl INetCfgComponentSetup_Impl for Notify_Impl {
    fn Install(&self, _: u32) -> Result<()> {
        Ok(())
    }

    fn Upgrade(&self, _: u32, _: u32) -> Result<()> {
        Ok(())
    }

    fn ReadAnswerFile(&self, _: &PCWSTR, _: &PCWSTR) -> Result<()> {
        Ok(())
    }

    fn Removing(&self) -> Result<()> {
        // Each path that goes is told by itself.
        Ok(())
    }
}

impl INetCfgComponentNotifyBinding_Impl for Notify_Impl {
    fn QueryBindingPath(&self, change: u32, path: Ref<'_, INetCfgBindingPath>) -> Result<()> {
        query(change, path)
    }

    fn NotifyBindingPath(&self, change: u32, path: Ref<'_, INetCfgBindingPath>) -> Result<()> {
        let (upper, lower) = ends(path)?;
        let deed = rules::deed(change, &end(&upper)?, &end(&lower)?);
        let Some(netcfg) = self.plan(|plan| plan.netcfg.clone()) else { return Err(E_UNEXPECTED.into()) };
        if deed == Deed::Nothing {
            return Ok(());
        }
        let adapter = identifier(&lower)?;
        let planned = self.plan(|plan| plan.added.iter().find(|(a, _)| *a == adapter).map(|(_, m)| *m));
        let miniport = planned.or_else(|| written(adapter));
        match (deed, miniport) {
            (Deed::Add, None) => {
                let miniport = install(&netcfg)?;
                self.plan(|plan| plan.added.push((adapter, miniport)));
            }
            (Deed::Remove, Some(miniport)) => {
                remove(&netcfg, miniport)?;
                self.plan(|plan| {
                    plan.added.retain(|(a, _)| *a != adapter);
                    plan.removed.push(adapter);
                });
            }
            _ => {}
        }
        Ok(())
    }
}

impl INetCfgComponentNotifyGlobal_Impl for Notify_Impl {
    fn GetSupportedNotifications(&self) -> Result<u32> {
        Ok(NOTIFICATIONS)
    }

    fn SysQueryBindingPath(&self, change: u32, path: Ref<'_, INetCfgBindingPath>) -> Result<()> {
        query(change, path)
    }

    fn SysNotifyBindingPath(&self, _: u32, _: Ref<'_, INetCfgBindingPath>) -> Result<()> {
        Ok(())
    }

    fn SysNotifyComponent(&self, _: u32, _: Ref<'_, INetCfgComponent>) -> Result<()> {
        Ok(())
    }
}

/// Whether a path may be.
fn query(change: u32, path: Ref<'_, INetCfgBindingPath>) -> Result<()> {
    let (upper, lower) = ends(path)?;
    if rules::refused(change, &end(&upper)?, &end(&lower)?) {
        return Err(Error::from_hresult(NETCFG_S_DISABLE_QUERY));
    }
    Ok(())
}

/// Makes notify objects.
#[implement(IClassFactory)]
struct Factory {
    _counted: Counted,
}

impl IClassFactory_Impl for Factory_Impl {
    fn CreateInstance(&self, outer: Ref<'_, IUnknown>, id: *const GUID, object: *mut *mut c_void) -> Result<()> {
        if !outer.is_null() {
            return Err(CLASS_E_NOAGGREGATION.into());
        }
        let made: IUnknown = Notify { plan: Mutex::default(), _counted: Counted::new() }.into();
        // SAFETY: the caller's identifier and place live through the call.
        unsafe { made.query(id, object) }.ok()
    }

    fn LockServer(&self, lock: BOOL) -> Result<()> {
        ALIVE.fetch_add(if lock.as_bool() { 1 } else { -1 }, Ordering::AcqRel);
        Ok(())
    }
}

/// See `DllGetClassObject`.
///
/// # Safety
/// Called by COM with identifiers and a place that live through the call.
#[unsafe(no_mangle)]
pub unsafe extern "system" fn DllGetClassObject(
    class: *const GUID,
    id: *const GUID,
    object: *mut *mut c_void,
) -> HRESULT {
    if class.is_null() || id.is_null() || object.is_null() {
        return E_POINTER;
    }
    // SAFETY: the place is the caller's.
    unsafe { object.write(core::ptr::null_mut()) };
    // SAFETY: the identifier is the caller's.
    if unsafe { class.read() } != CLASS {
        return CLASS_E_CLASSNOTAVAILABLE;
    }
    let factory: IUnknown = Factory { _counted: Counted::new() }.into();
    // SAFETY: identifier and place are the caller's.
    unsafe { factory.query(id, object) }
}

/// See `DllCanUnloadNow`.
#[unsafe(no_mangle)]
pub extern "system" fn DllCanUnloadNow() -> HRESULT {
    if ALIVE.load(Ordering::Acquire) == 0 { S_OK } else { S_FALSE }
}

/// The key of the class.
fn class_key() -> String {
    format!("{CLASSES}\\{}", names::guid(CLASS.to_u128()))
}

/// Where this library lies.
fn path() -> Result<Vec<u16>> {
    let mut module = HMODULE::default();
    let flags = GET_MODULE_HANDLE_EX_FLAG_FROM_ADDRESS | GET_MODULE_HANDLE_EX_FLAG_UNCHANGED_REFCOUNT;
    let here: *const u16 = (&raw const ALIVE).cast();
    // SAFETY: the address lies in this library.
    unsafe { GetModuleHandleExW(flags, PCWSTR(here), &raw mut module) }?;
    let mut path = vec![0; 1024];
    // SAFETY: the buffer lives through the call.
    let length = unsafe { GetModuleFileNameW(Some(module), &mut path) };
    let length = usize::try_from(length).unwrap_or(0);
    if length == 0 || length >= path.len() {
        return Err(E_UNEXPECTED.into());
    }
    // With the zero behind it.
    path.truncate(length + 1);
    Ok(path)
}

fn register() -> Result<()> {
    let server = format!("{}\\InprocServer32", class_key());
    write(&server, &HSTRING::new(), REG_SZ.0, &path()?)?;
    let both: Vec<u16> = "Both\0".encode_utf16().collect();
    write(&server, &HSTRING::from("ThreadingModel"), REG_SZ.0, &both)
}

/// See `DllRegisterServer`.
#[unsafe(no_mangle)]
pub extern "system" fn DllRegisterServer() -> HRESULT {
    register().map_or_else(|error| error.code(), |()| S_OK)
}

/// See `DllUnregisterServer`.
#[unsafe(no_mangle)]
pub extern "system" fn DllUnregisterServer() -> HRESULT {
    // SAFETY: the name lives through the call. What is not there need not go.
    let _status = unsafe { RegDeleteTreeW(HKEY_LOCAL_MACHINE, &HSTRING::from(class_key())) };
    S_OK
}
