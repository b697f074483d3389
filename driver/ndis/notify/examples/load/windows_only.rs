//! The configuration, and what is asked.
#![allow(
    clippy::undocumented_unsafe_blocks,
    clippy::multiple_unsafe_ops_per_block,
    reason = "a test double of COM objects"
)]

use core::ffi::c_void;
use std::cell::RefCell;
use std::rc::Rc;

use windows::Win32::Devices::DeviceAndDriverInstallation::GUID_DEVCLASS_NET;
use windows::Win32::Foundation::{CLASS_E_CLASSNOTAVAILABLE, E_NOTIMPL, ERROR_SUCCESS, HWND, S_FALSE, S_OK};
use windows::Win32::NetworkManagement::NetManagement::*;
use windows::Win32::System::Com::{CoTaskMemAlloc, IClassFactory};
use windows::Win32::System::LibraryLoader::{GetProcAddress, LoadLibraryW};
use windows::Win32::System::Registry::{HKEY, HKEY_LOCAL_MACHINE, RRF_RT_ANY, RegGetValueW};
use windows_core::{BOOL, GUID, HRESULT, HSTRING, IUnknown, Interface, OutRef, PCSTR, PCWSTR, PWSTR, Ref, Result, implement, s, w};

const CLASS: GUID = GUID::from_u128(0x9C5B_8E1E_5C0D_4E0B_8F0C_6B1D_2A7F_4E31);
const ADAPTER: GUID = GUID::from_u128(0x1111_1111_2222_3333_4444_5555_5555_5555);
const MINIPORT: GUID = GUID::from_u128(0xAAAA_AAAA_BBBB_CCCC_DDDD_EEEE_EEEE_EEEE);
const KEY: &str =
    r"SYSTEM\CurrentControlSet\Services\planbim\Parameters\Adapters\{11111111-2222-3333-4444-555555555555}";

/// What the configuration was asked to do.
type Log = Rc<RefCell<Vec<String>>>;

#[implement(INetCfgComponent)]
struct Component {
    id: &'static str,
    characteristics: u32,
    guid: GUID,
}

impl INetCfgComponent_Impl for Component_Impl {
    fn GetDisplayName(&self, _: *mut PWSTR) -> Result<()> {
        Err(E_NOTIMPL.into())
    }
    fn SetDisplayName(&self, _: &PCWSTR) -> Result<()> {
        Err(E_NOTIMPL.into())
    }
    fn GetHelpText(&self, _: *mut PWSTR) -> Result<()> {
        Err(E_NOTIMPL.into())
    }
    fn GetId(&self, out: *mut PWSTR) -> Result<()> {
        let text: Vec<u16> = self.id.encode_utf16().chain([0]).collect();
        unsafe {
            let at = CoTaskMemAlloc(text.len() * 2).cast::<u16>();
            at.copy_from_nonoverlapping(text.as_ptr(), text.len());
            out.write(PWSTR(at));
        }
        Ok(())
    }
    fn GetCharacteristics(&self) -> Result<u32> {
        Ok(self.characteristics)
    }
    fn GetInstanceGuid(&self, out: *mut GUID) -> Result<()> {
        unsafe { out.write(self.guid) };
        Ok(())
    }
    fn GetPnpDevNodeId(&self, _: *mut PWSTR) -> Result<()> {
        Err(E_NOTIMPL.into())
    }
    fn GetClassGuid(&self, _: *mut GUID) -> Result<()> {
        Err(E_NOTIMPL.into())
    }
    fn GetBindName(&self, _: *mut PWSTR) -> Result<()> {
        Err(E_NOTIMPL.into())
    }
    fn GetDeviceStatus(&self) -> Result<u32> {
        Err(E_NOTIMPL.into())
    }
    fn OpenParamKey(&self, _: *mut HKEY) -> Result<()> {
        Err(E_NOTIMPL.into())
    }
    fn RaisePropertyUi(&self, _: HWND, _: u32, _: Ref<'_, IUnknown>) -> Result<()> {
        Err(E_NOTIMPL.into())
    }
}

fn component(id: &'static str, characteristics: u32, guid: GUID) -> INetCfgComponent {
    Component { id, characteristics, guid }.into()
}

#[implement(INetCfgBindingInterface)]
struct Joint {
    upper: INetCfgComponent,
    lower: INetCfgComponent,
}

impl INetCfgBindingInterface_Impl for Joint_Impl {
    fn GetName(&self, _: *mut PWSTR) -> Result<()> {
        Err(E_NOTIMPL.into())
    }
    fn GetUpperComponent(&self, out: OutRef<'_, INetCfgComponent>) -> Result<()> {
        out.write(Some(self.upper.clone()))
    }
    fn GetLowerComponent(&self, out: OutRef<'_, INetCfgComponent>) -> Result<()> {
        out.write(Some(self.lower.clone()))
    }
}

#[implement(IEnumNetCfgBindingInterface)]
struct Joints(INetCfgBindingInterface);

impl IEnumNetCfgBindingInterface_Impl for Joints_Impl {
    fn Next(&self, count: u32, out: *mut Option<INetCfgBindingInterface>, _: *mut u32) -> Result<()> {
        assert_eq!(count, 1);
        unsafe { out.write(Some(self.0.clone())) };
        Ok(())
    }
    fn Skip(&self, _: u32) -> Result<()> {
        Err(E_NOTIMPL.into())
    }
    fn Reset(&self) -> Result<()> {
        Err(E_NOTIMPL.into())
    }
    fn Clone(&self, _: *const Option<IEnumNetCfgBindingInterface>) -> Result<()> {
        Err(E_NOTIMPL.into())
    }
}

#[implement(INetCfgBindingPath)]
struct Path(IEnumNetCfgBindingInterface);

impl INetCfgBindingPath_Impl for Path_Impl {
    fn IsSamePathAs(&self, _: Ref<'_, INetCfgBindingPath>) -> Result<()> {
        Err(E_NOTIMPL.into())
    }
    fn IsSubPathOf(&self, _: Ref<'_, INetCfgBindingPath>) -> Result<()> {
        Err(E_NOTIMPL.into())
    }
    fn IsEnabled(&self) -> Result<()> {
        Err(E_NOTIMPL.into())
    }
    fn Enable(&self, _: BOOL) -> Result<()> {
        Err(E_NOTIMPL.into())
    }
    fn GetPathToken(&self, _: *mut PWSTR) -> Result<()> {
        Err(E_NOTIMPL.into())
    }
    fn GetOwner(&self, _: OutRef<'_, INetCfgComponent>) -> Result<()> {
        Err(E_NOTIMPL.into())
    }
    fn GetDepth(&self) -> Result<u32> {
        Err(E_NOTIMPL.into())
    }
    fn EnumBindingInterfaces(&self, out: OutRef<'_, IEnumNetCfgBindingInterface>) -> Result<()> {
        out.write(Some(self.0.clone()))
    }
}

fn path(upper: &INetCfgComponent, lower: &INetCfgComponent) -> INetCfgBindingPath {
    let joint: INetCfgBindingInterface = Joint { upper: upper.clone(), lower: lower.clone() }.into();
    Path(Joints(joint).into()).into()
}

/// Miniports that are installed, shared by the configuration and what installs.
type Installed = Rc<RefCell<Vec<INetCfgComponent>>>;

#[implement(INetCfgClassSetup)]
struct Setup(Log, Installed);

impl INetCfgClassSetup_Impl for Setup_Impl {
    fn SelectAndInstall(&self, _: HWND, _: *const OBO_TOKEN, _: OutRef<'_, INetCfgComponent>) -> Result<()> {
        Err(E_NOTIMPL.into())
    }
    fn Install(
        &self,
        id: &PCWSTR,
        _: *const OBO_TOKEN,
        _: u32,
        _: u32,
        _: &PCWSTR,
        _: &PCWSTR,
        out: OutRef<'_, INetCfgComponent>,
    ) -> Result<()> {
        self.0.borrow_mut().push(format!("install {}", unsafe { id.to_string() }.unwrap()));
        let made = component("planb_immp", 0x29, MINIPORT);
        self.1.borrow_mut().push(made.clone());
        out.write(Some(made))
    }
    fn DeInstall(&self, _: Ref<'_, INetCfgComponent>, _: *const OBO_TOKEN, _: *mut PWSTR) -> Result<()> {
        self.0.borrow_mut().push("remove".to_owned());
        self.1.borrow_mut().clear();
        Ok(())
    }
}

#[implement(IEnumNetCfgComponent)]
struct Components(RefCell<Vec<INetCfgComponent>>);

impl IEnumNetCfgComponent_Impl for Components_Impl {
    fn Next(&self, _: u32, out: *mut Option<INetCfgComponent>, _: *mut u32) -> Result<()> {
        match self.0.borrow_mut().pop() {
            Some(next) => {
                unsafe { out.write(Some(next)) };
                Ok(())
            }
            None => Err(windows_core::Error::from_hresult(S_FALSE)),
        }
    }
    fn Skip(&self, _: u32) -> Result<()> {
        Err(E_NOTIMPL.into())
    }
    fn Reset(&self) -> Result<()> {
        Err(E_NOTIMPL.into())
    }
    fn Clone(&self, _: *const Option<IEnumNetCfgComponent>) -> Result<()> {
        Err(E_NOTIMPL.into())
    }
}

#[implement(INetCfg)]
struct Config(Log, Installed);

impl INetCfg_Impl for Config_Impl {
    fn Initialize(&self, _: *const c_void) -> Result<()> {
        Err(E_NOTIMPL.into())
    }
    fn Uninitialize(&self) -> Result<()> {
        Err(E_NOTIMPL.into())
    }
    fn Apply(&self) -> Result<()> {
        Err(E_NOTIMPL.into())
    }
    fn Cancel(&self) -> Result<()> {
        Err(E_NOTIMPL.into())
    }
    fn EnumComponents(&self, class: *const GUID, out: OutRef<'_, IEnumNetCfgComponent>) -> Result<()> {
        assert_eq!(unsafe { class.read() }, GUID_DEVCLASS_NET);
        let other = component("other", 4, ADAPTER);
        let all = self.1.borrow().iter().cloned().chain([other]).collect();
        out.write(Some(Components(RefCell::new(all)).into()))
    }
    fn FindComponent(&self, _: &PCWSTR, _: OutRef<'_, INetCfgComponent>) -> Result<()> {
        Err(E_NOTIMPL.into())
    }
    fn QueryNetCfgClass(&self, class: *const GUID, id: *const GUID, out: *mut *mut c_void) -> Result<()> {
        assert_eq!(unsafe { (class.read(), id.read()) }, (GUID_DEVCLASS_NET, INetCfgClassSetup::IID));
        let setup: INetCfgClassSetup = Setup(self.0.clone(), self.1.clone()).into();
        unsafe { out.write(setup.into_raw()) };
        Ok(())
    }
}

#[implement(INetCfgPnpReconfigCallback)]
struct Callback(Log);

impl INetCfgPnpReconfigCallback_Impl for Callback_Impl {
    fn SendPnpReconfig(
        &self,
        layer: NCPNP_RECONFIG_LAYER,
        upper: &PCWSTR,
        _: &PCWSTR,
        _: *const c_void,
        _: u32,
    ) -> Result<()> {
        self.0.borrow_mut().push(format!("reconfigure {} {}", layer.0, unsafe { upper.to_string() }.unwrap()));
        Ok(())
    }
}

/// The value the driver reads.
fn upper_bindings() -> Option<String> {
    let mut value = [0_u16; 128];
    let mut bytes = 256;
    let at: *mut c_void = value.as_mut_ptr().cast();
    let status = unsafe {
        RegGetValueW(HKEY_LOCAL_MACHINE, &HSTRING::from(KEY), w!("UpperBindings"), RRF_RT_ANY, None, Some(at), Some(&raw mut bytes))
    };
    (status == ERROR_SUCCESS).then(|| String::from_utf16_lossy(&value[..bytes as usize / 2]))
}

type GetClassObject = unsafe extern "system" fn(*const GUID, *const GUID, *mut *mut c_void) -> HRESULT;
type Plain = unsafe extern "system" fn() -> HRESULT;

/// What a call says, success or not.
macro_rules! says {
    ($object:ident.$method:ident($($argument:expr),*)) => {
        // SAFETY: the arguments live through the call.
        unsafe { (Interface::vtable($object).$method)(Interface::as_raw($object), $($argument),*) }
    };
}

/// Everything, in order; ends the program where something is wrong.
pub fn run() {
    let library = unsafe { LoadLibraryW(w!("planbnot.dll")) }.expect("the library");
    let function = |name: PCSTR| unsafe { GetProcAddress(library, name) }.expect("a function");
    let get: GetClassObject = unsafe { core::mem::transmute(function(s!("DllGetClassObject"))) };
    let unload: Plain = unsafe { core::mem::transmute(function(s!("DllCanUnloadNow"))) };
    let register: Plain = unsafe { core::mem::transmute(function(s!("DllRegisterServer"))) };
    let unregister: Plain = unsafe { core::mem::transmute(function(s!("DllUnregisterServer"))) };
    let mut raw = core::ptr::null_mut();
    assert_eq!(unsafe { get(&ADAPTER, &IClassFactory::IID, &raw mut raw) }, CLASS_E_CLASSNOTAVAILABLE);
    assert_eq!((unsafe { unload() }, unsafe { register() }), (S_OK, S_OK));
    assert_eq!(unsafe { get(&CLASS, &IClassFactory::IID, &raw mut raw) }, S_OK);
    let factory = unsafe { IClassFactory::from_raw(raw) };
    assert_eq!(unsafe { unload() }, S_FALSE);
    {
        let control: INetCfgComponentControl = unsafe { factory.CreateInstance(None) }.expect("an object");
        let notify: INetCfgComponentNotifyBinding = control.cast().expect("INetCfgComponentNotifyBinding");
        let global: INetCfgComponentNotifyGlobal = control.cast().expect("INetCfgComponentNotifyGlobal");
        let setup: INetCfgComponentSetup = control.cast().expect("INetCfgComponentSetup");
        assert!(control.cast::<INetCfgComponentPropertyUi>().is_err(), "there are no properties");
        assert_eq!(unsafe { global.GetSupportedNotifications() }.expect("a mask"), 0x3_0133);
        let setup = &setup;
        assert_eq!(says!(setup.Install(0)), S_OK);
        configure(&control, &notify, &global);
        assert_eq!(says!(setup.Removing()), S_OK);
    }
    drop(factory);
    assert_eq!((unsafe { unload() }, unsafe { unregister() }), (S_OK, S_OK));
    println!("loaded, asked, told of an adapter that came and went; nothing left");
}

fn configure(
    control: &INetCfgComponentControl,
    notify: &INetCfgComponentNotifyBinding,
    global: &INetCfgComponentNotifyGlobal,
) {
    let (log, installed) = (Log::default(), Installed::default());
    let config: INetCfg = Config(log.clone(), installed.clone()).into();
    let callback: INetCfgPnpReconfigCallback = Callback(log.clone()).into();
    let ours = component("planb_im", 0, GUID::zeroed());
    let (tcpip, card) = (component("ms_tcpip", 0xA0, GUID::zeroed()), component("pci\\ven_8086", 4, ADAPTER));
    let (bound, around) = (path(&ours, &card), path(&tcpip, &card));
    let taken = |log: &Log| core::mem::take(&mut *log.borrow_mut());
    {
        assert_eq!(says!(control.Initialize(ours.as_raw(), config.as_raw(), BOOL(1))), S_OK);
        assert_eq!(says!(control.ApplyRegistryChanges()), S_FALSE);
        assert_eq!(says!(global.SysQueryBindingPath(0x10, around.as_raw())), NETCFG_S_DISABLE_QUERY);
        assert_eq!(says!(notify.QueryBindingPath(0x10, bound.as_raw())), S_OK);
        // Changes that are cancelled leave nothing in the registry.
        assert_eq!(says!(notify.NotifyBindingPath(0x11, bound.as_raw())), S_OK);
        assert_eq!((taken(&log), upper_bindings()), (vec!["install planb_immp".to_owned()], None));
        assert_eq!((says!(control.CancelChanges()), says!(control.ApplyRegistryChanges())), (S_OK, S_FALSE));
        installed.borrow_mut().clear();
        // An adapter that is bound has its miniport; bound again, the same one.
        assert_eq!(says!(notify.NotifyBindingPath(0x11, bound.as_raw())), S_OK);
        assert_eq!(says!(notify.NotifyBindingPath(0x11, bound.as_raw())), S_OK);
        assert_eq!(taken(&log), ["install planb_immp"]);
        assert_eq!((says!(control.ApplyRegistryChanges()), says!(control.ApplyPnpChanges(callback.as_raw()))), (S_OK, S_OK));
        assert_eq!(upper_bindings().as_deref(), Some("\\Device\\{AAAAAAAA-BBBB-CCCC-DDDD-EEEEEEEEEEEE}\0\0"));
        assert_eq!(taken(&log), ["reconfigure 1 planbim"]);
        assert_eq!(says!(notify.NotifyBindingPath(0x11, bound.as_raw())), S_OK);
        assert_eq!(taken(&log), [""; 0], "it is written down");
        // It goes, and its miniport with it.
        assert_eq!(says!(notify.NotifyBindingPath(0x12, bound.as_raw())), S_OK);
        assert_eq!(taken(&log), ["remove"]);
        assert_eq!((says!(control.ApplyRegistryChanges()), says!(control.ApplyPnpChanges(callback.as_raw()))), (S_OK, S_FALSE));
        assert_eq!((upper_bindings(), taken(&log)), (None, Vec::new()));
    }
}
