//! What a driver keeps over a start, and what it lets through when that is damaged.

use std::path::PathBuf;

use super::Bench;
use crate::windows::run::{Failure, read, write};

/// `BootPolicy`: the last good rules.
const LAST: &str = "2";
/// What is damaged: a byte in each of so many places of the file.
const PLACES: usize = 8;

/// The file of the last good rules, as the driver is told: Wine knows no `\SystemRoot`, where it lies by default.
const FILE: &str = r"\??\C:\planb.good";

fn file(bench: &Bench<'_>) -> PathBuf {
    bench.wine.prefix.join("drive_c/planb.good")
}

/// With `BootPolicy` 2 the rules that were loaded are in force when the driver has been stopped and started again; of a
/// file with a changed byte there are none, and nothing passes.
///
/// # Errors
/// What does not hold.
pub(super) fn prove(bench: &Bench, driver: &str) -> Result<String, Failure> {
    let parameters = format!(r"HKLM\System\CurrentControlSet\Services\{driver}\Parameters");
    let _none = std::fs::remove_file(file(bench));
    bench.wine.reg(&["add", &parameters, "/v", "BootPolicy", "/t", "REG_DWORD", "/d", LAST, "/f"])?;
    bench.wine.reg(&["add", &parameters, "/v", "LastGood", "/t", "REG_SZ", "/d", FILE, "/f"])?;
    let held = kept(bench, driver);
    bench.wine.reg(&["delete", &parameters, "/v", "BootPolicy", "/f"])?;
    bench.wine.reg(&["delete", &parameters, "/v", "LastGood", "/f"])?;
    let _gone = std::fs::remove_file(file(bench));
    held
}

fn kept(bench: &Bench, driver: &str) -> Result<String, Failure> {
    bench.running(driver, || {
        bench.load(1)?;
        bench.shows(bench.rules)
    })?;
    let bytes = read(&file(bench))?;
    bench.running(driver, || {
        bench.shows(bench.rules)?;
        bench.told()?;
        bench.traffic.pass(bench.wine)
    })?;
    for place in 0..PLACES {
        let mut damaged = bytes.clone();
        let at = place * (bytes.len() - 1) / (PLACES - 1);
        *damaged.get_mut(at).ok_or("the file of the last good rules is empty")? ^= 1 << place;
        write(&file(bench), &damaged)?;
        bench.running(driver, || {
            bench.shows("").map_err(|why| format!("with byte {at} changed: {why}"))?;
            bench.traffic.refused(bench.wine)
        })?;
    }
    Ok(format!(
        "the rules were there after a start ({} bytes); of {PLACES} damaged files none, and nothing passed",
        bytes.len()
    ))
}
