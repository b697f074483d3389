//! Names in the registry.

/// The driver's service as a protocol.
pub const SERVICE: &str = "planbim";

/// Where the configuration of bindings lies below `HKEY_LOCAL_MACHINE`; the driver reads it by the binding's handle.
pub const ADAPTERS: &str = r"SYSTEM\CurrentControlSet\Services\planbim\Parameters\Adapters";

/// The value that names an adapter's miniport.
pub const UPPER: &str = "UpperBindings";

/// An identifier as Windows writes it: `{XXXXXXXX-XXXX-XXXX-XXXX-XXXXXXXXXXXX}`.
#[must_use]
pub fn guid(value: u128) -> String {
    let hex = format!("{value:032X}");
    let part = |from: usize, to: usize| hex.get(from..to).unwrap_or_default();
    format!("{{{}-{}-{}-{}-{}}}", part(0, 8), part(8, 12), part(12, 16), part(16, 20), part(20, 32))
}

/// The identifier in a text that has one. `None` when it is written otherwise.
#[must_use]
pub fn read_guid(text: &str) -> Option<u128> {
    let inner = text.strip_prefix('{')?.strip_suffix('}')?;
    let lengths: Vec<usize> = inner.split('-').map(str::len).collect();
    if lengths != [8, 4, 4, 4, 12] {
        return None;
    }
    u128::from_str_radix(&inner.replace('-', ""), 16).ok()
}

/// The key of an adapter.
#[must_use]
pub fn adapter_key(adapter: u128) -> String {
    format!("{ADAPTERS}\\{}", guid(adapter))
}

/// The value that names a miniport: one name, as `REG_MULTI_SZ` has it.
#[must_use]
pub fn upper_bindings(miniport: u128) -> Vec<u16> {
    format!("\\Device\\{}\0\0", guid(miniport)).encode_utf16().collect()
}

/// The miniport such a value names first.
#[must_use]
pub fn bound_miniport(value: &[u16]) -> Option<u128> {
    let first = value.split(|c| *c == 0).next()?;
    let name = String::from_utf16(first).ok()?;
    let prefix = name.get(..8).filter(|p| p.eq_ignore_ascii_case(r"\Device\"))?;
    read_guid(name.get(prefix.len()..)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    const ID: u128 = 0x6E3A_4C2B_6B1D_4B6F_9B57_2C5B_1B8F_3D10;

    #[test]
    fn identifiers_are_written_and_read() {
        assert_eq!(guid(ID), "{6E3A4C2B-6B1D-4B6F-9B57-2C5B1B8F3D10}");
        assert_eq!((read_guid(&guid(ID)), read_guid(&guid(1).to_lowercase())), (Some(ID), Some(1)));
        let wrong = ["", "{}", "6E3A4C2B-6B1D-4B6F-9B57-2C5B1B8F3D10", "{6E3A4C2-B6B1D-4B6F-9B57-2C5B1B8F3D10}", "{+E3A4C2B-6B1D-4B6F-9B57-2C5B1B8F3D1G}"];
        assert!(wrong.iter().all(|w| read_guid(w).is_none()));
    }

    #[test]
    fn a_miniport_is_found_where_it_was_written() {
        let value = upper_bindings(ID);
        assert!(value.ends_with(&[u16::from(b'}'), 0, 0]));
        assert_eq!(bound_miniport(&value), Some(ID));
        let text = |t: &str| bound_miniport(&t.encode_utf16().collect::<Vec<_>>());
        assert_eq!(text(&format!("\\DEVICE\\{}", guid(ID))), Some(ID));
        assert_eq!((text(""), text("\\Device\\"), text(&guid(ID)), text("\\Dev\u{e9}ce")), (None, None, None, None));
        assert_eq!(adapter_key(1), format!("{ADAPTERS}\\{{00000000-0000-0000-0000-000000000001}}"));
    }
}
