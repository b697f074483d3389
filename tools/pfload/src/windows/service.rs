//! `pfload service`: keeps the driver told of its host, as the service planbsvc or in the foreground.
//!
//! Windows starts the service with this command (`install.ps1` says so to it); started by a person it runs until it is
//! interrupted. Lines go to standard error, those of the service to `planbsvc.log` beside the command, where only
//! administrators may write.

use std::ffi::OsString;
use std::io::Write;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use clap::Args;
use pfwin::sys::Changes;
use windows_service::service::{
    ServiceControl, ServiceControlAccept, ServiceExitCode, ServiceState, ServiceStatus, ServiceType,
};
use windows_service::service_control_handler::{self, ServiceControlHandlerResult, ServiceStatusHandle};
use windows_service::{define_windows_service, service_dispatcher};

use super::follow::follow;
use crate::link::{Outcome, Trouble};
use crate::verbs::Common;

/// Its name.
pub(crate) const NAME: &str = "planbsvc";
/// `ERROR_FAILED_SERVICE_CONTROLLER_CONNECT`: no service, but somebody's command.
const NO_SERVICE: i32 = 1063;

/// Set when it has to end.
static STOP: AtomicBool = AtomicBool::new(false);
/// The device, for the function Windows calls.
static DEVICE: OnceLock<Option<String>> = OnceLock::new();

define_windows_service!(entry, main);

/// Keep the driver told of this machine's interfaces, addresses, routes and ports
///
/// Windows runs it as the service planbsvc; by hand it runs until it is interrupted.
#[derive(Args, Clone, Debug)]
pub(crate) struct Service {}

impl Service {
    /// Carries it out.
    ///
    /// # Errors
    /// [`Trouble::Here`]: Windows cannot run it.
    pub(crate) fn run(&self, common: &Common) -> Outcome {
        let device = DEVICE.get_or_init(|| common.device.clone());
        match service_dispatcher::start(NAME, entry) {
            Ok(()) => Ok(()),
            Err(windows_service::Error::Winapi(why)) if why.raw_os_error() == Some(NO_SERVICE) => {
                follow(device.as_deref(), &STOP, &mut |line| eprintln!("{NAME}: {line}"));
                Ok(())
            }
            Err(why) => Err(Trouble::Here(format!("service: {why}"))),
        }
    }
}

/// What Windows is told of the state.
fn status(current: ServiceState) -> ServiceStatus {
    let accepted = if current == ServiceState::Running {
        ServiceControlAccept::STOP | ServiceControlAccept::SHUTDOWN
    } else {
        ServiceControlAccept::empty()
    };
    ServiceStatus {
        service_type: ServiceType::OWN_PROCESS,
        current_state: current,
        controls_accepted: accepted,
        exit_code: ServiceExitCode::Win32(0),
        checkpoint: 0,
        wait_hint: Duration::from_secs(5),
        process_id: None,
    }
}

fn control(asked: ServiceControl) -> ServiceControlHandlerResult {
    match asked {
        ServiceControl::Stop | ServiceControl::Shutdown => {
            STOP.store(true, Ordering::Release);
            Changes::wake();
            ServiceControlHandlerResult::NoError
        }
        ServiceControl::Interrogate => ServiceControlHandlerResult::NoError,
        _ => ServiceControlHandlerResult::NotImplemented,
    }
}

/// The service, on a thread Windows makes.
fn main(_: Vec<OsString>) {
    let Ok(handle) = service_control_handler::register(NAME, control) else { return };
    let tell = |handle: &ServiceStatusHandle, state| {
        // Whom should it be told?
        let _unheard = handle.set_service_status(status(state));
    };
    tell(&handle, ServiceState::Running);
    let mut log = log();
    follow(DEVICE.get().and_then(Option::as_deref), &STOP, &mut |line| {
        if let Some(log) = &mut log {
            let _full = writeln!(log, "{} {line}", jiff::Timestamp::now());
        }
    });
    tell(&handle, ServiceState::Stopped);
}

/// The service's lines since it was started.
fn log() -> Option<std::fs::File> {
    let command = std::env::current_exe().ok()?;
    std::fs::File::create(command.with_file_name(format!("{NAME}.log"))).ok()
}
