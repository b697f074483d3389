//! Messages through the device: which codes there are, and what is refused before control sees anything.
//!
//! Both codes are buffered: the system copies the request in and the answer out. A handle without write access cannot use
//! [`TELL`]; the system refuses that itself, by the access in the code.

use pfvm::api::{MAX_MESSAGE, Rights};

use crate::sys::code::{BUFFER_TOO_SMALL, INVALID_DEVICE_REQUEST, INVALID_PARAMETER, Status};

/// `FILE_DEVICE_NETWORK`.
const DEVICE: u32 = 0x12;

/// `CTL_CODE` of a buffered request.
const fn control_code(function: u32, access: u32) -> u32 {
    DEVICE << 16 | access << 14 | function << 2
}

/// A message by someone who may look (`FILE_READ_ACCESS`).
pub const ASK: u32 = control_code(0x801, 1);
/// A request for log records by someone who may look, which waits until there is one.
pub const WAIT: u32 = control_code(0x803, 1);
/// A message by someone who may change things (`FILE_READ_ACCESS | FILE_WRITE_ACCESS`).
pub const TELL: u32 = control_code(0x802, 3);

/// The device's name for programs.
pub const DEVICE_PATH: &str = r"\\.\PlanB";
/// Its name in the system.
pub const DEVICE_NAME: &str = r"\Device\PlanB";
/// The link to it.
pub const LINK_NAME: &str = r"\DosDevices\PlanB";
/// Who may open it: the system and administrators, nobody else.
pub const SDDL: &str = "D:P(A;;GA;;;SY)(A;;GA;;;BA)";

/// What a request through the device may do.
///
/// # Errors
/// The status it is completed with: not one of the codes, no message, one too long, or no room for any answer.
pub fn admit(code: u32, input: usize, output: usize) -> Result<Rights, Status> {
    let rights = match code {
        ASK | WAIT => Rights::Read,
        TELL => Rights::Write,
        _ => return Err(INVALID_DEVICE_REQUEST),
    };
    if input == 0 || input > MAX_MESSAGE {
        return Err(INVALID_PARAMETER);
    }
    if output == 0 {
        return Err(BUFFER_TOO_SMALL);
    }
    Ok(rights)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_say_who_may_use_them() {
        assert_eq!((ASK, WAIT, TELL), (0x0012_6004, 0x0012_600C, 0x0012_E008));
        assert_eq!((admit(ASK, 1, 1), admit(TELL, MAX_MESSAGE, 1)), (Ok(Rights::Read), Ok(Rights::Write)));
        assert_eq!(admit(TELL ^ 3, 1, 1), Err(INVALID_DEVICE_REQUEST));
        assert_eq!(admit(ASK, 0, 1), Err(INVALID_PARAMETER));
        assert_eq!(admit(ASK, MAX_MESSAGE + 1, 1), Err(INVALID_PARAMETER));
        assert_eq!(admit(ASK, 1, 0), Err(BUFFER_TOO_SMALL));
    }
}
