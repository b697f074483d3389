//! A reader that follows the log: its request waits in the driver until a record comes, or until it is taken back.

use std::process::Stdio;
use std::time::Duration;

use super::Bench;
use crate::windows::run::Failure;

/// Time a reader has to come to wait.
const COMES: Duration = Duration::from_secs(2);

/// One reader waits and gets what comes; another waits and is ended. The driver stops all the same.
///
/// # Errors
/// What does not hold.
pub(super) fn prove(bench: &Bench, driver: &str) -> Result<String, Failure> {
    let records = bench.running(driver, || {
        bench.told()?;
        bench.load(1)?;
        let reader = |count: &str| {
            let mut command = bench.wine.command(r"C:\pfload.exe");
            command.args(["log", "--follow", "--new", "-c", count]).stdout(Stdio::piped());
            command.spawn().map_err(|error| error.to_string())
        };
        let first = reader("3")?;
        std::thread::sleep(COMES);
        bench.traffic.pass(bench.wine)?;
        let said = first.wait_with_output().map_err(|error| error.to_string())?;
        let lines = String::from_utf8_lossy(&said.stdout).lines().count();
        if lines != 3 || !said.status.success() {
            let wrote = String::from_utf8_lossy(&said.stdout);
            return Err(format!("a reader of three records wrote {lines} lines ({}):\n{wrote}", said.status));
        }
        let mut second = reader("1000000")?;
        std::thread::sleep(COMES);
        second.kill().map_err(|error| error.to_string())?;
        second.wait().map_err(|error| error.to_string())?;
        Ok(lines)
    })?;
    Ok(format!("a reader that waited got its {records} records; one that waited was ended, and the driver stopped"))
}
