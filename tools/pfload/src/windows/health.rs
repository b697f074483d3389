//! What `pfload doctor` looks at on Windows: the driver, the service, the ports.

use windows_service::service::{ServiceAccess, ServiceState};
use windows_service::service_manager::{ServiceManager, ServiceManagerAccess};

/// The driver's name among the services.
const DRIVER: &str = "planb";

/// What, whether it is well, what was found, what to do.
pub(crate) type Look = (&'static str, Option<bool>, String, Option<&'static str>);

/// The state of a service; in words when it cannot be had.
fn state(name: &str) -> Result<ServiceState, String> {
    let manager = ServiceManager::local_computer(None::<&str>, ServiceManagerAccess::CONNECT).map_err(words)?;
    let service = manager.open_service(name, ServiceAccess::QUERY_STATUS).map_err(words)?;
    service.query_status().map(|status| status.current_state).map_err(words)
}

fn words(why: windows_service::Error) -> String {
    match why {
        windows_service::Error::Winapi(why) => crate::link::reason(&why),
        other => other.to_string(),
    }
}

fn running(what: &'static str, name: &str, advice: &'static str) -> Look {
    match state(name) {
        Ok(ServiceState::Running) => (what, Some(true), format!("{name} runs"), None),
        Ok(state) => (what, Some(false), format!("{name} is {state:?}"), Some(advice)),
        Err(why) => (what, Some(false), format!("{name}: {why}"), Some(advice)),
    }
}

/// All of it.
pub(crate) fn look() -> Vec<Look> {
    let mut all = vec![
        running("driver", DRIVER, "install it with install.ps1, or start it: `sc.exe start planb`"),
        running("service", super::service::NAME, "it keeps interfaces and ports current: `sc.exe start planbsvc`"),
    ];
    match super::machine() {
        Ok(machine) => {
            let (well, found) = machine.room();
            let advice = "leave them to translations: `netsh int ipv4 set dynamicport tcp start=32768 num=17232`, the same \
                          for udp, then restart";
            all.push(("ports", Some(well), found, (!well).then_some(advice)));
        }
        Err(why) => all.push(("machine", Some(false), why.to_string(), Some("restart; IP Helper does not answer"))),
    }
    all
}
