//! Linked as a native image that exports NDIS's names.

#[path = "../../ndis/image/native.rs"]
mod native;

/// The functions are found in the source: each is exported.
fn main() -> std::io::Result<()> {
    println!("cargo::rerun-if-changed=../../ndis/image/native.rs");
    for argument in native::NATIVE {
        println!("cargo::rustc-link-arg-bins={argument}");
    }
    let mut source = String::new();
    for file in ["src/exports.rs", "src/filter.rs", "src/im.rs"] {
        println!("cargo::rerun-if-changed={file}");
        source += &std::fs::read_to_string(file)?;
    }
    for line in source.lines() {
        if let Some((_, after)) = line.split_once("extern \"C\" fn Ndis")
            && let Some((name, _)) = after.split_once('(')
        {
            println!("cargo::rustc-link-arg-bins=/EXPORT:Ndis{name}");
        }
    }
    Ok(())
}
