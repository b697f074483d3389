//! How the driver is linked: a native image that cannot be changed once it is loaded, the same bytes each time.

const ARGUMENTS: &[&str] = &[
    "/DRIVER",
    "/SUBSYSTEM:NATIVE",
    "/ENTRY:DriverEntry",
    "/NODEFAULTLIB",
    "/DYNAMICBASE",
    "/NXCOMPAT",
    "/HIGHENTROPYVA",
    "/INTEGRITYCHECK",
    "/MANIFEST:NO",
    "/OPT:REF,ICF",
    "/ALIGN:4096",
    "/PDBALTPATH:planbim.pdb",
    "/MERGE:.CRT=.rdata",
];

fn main() -> Result<(), wdk_build::ConfigError> {
    for argument in ARGUMENTS {
        println!("cargo::rustc-link-arg-bins={argument}");
    }
    // lld-link names its reproducible mode so; link.exe, too.
    println!("cargo::rustc-link-arg-bins=/BREPRO");
    println!("cargo::rerun-if-env-changed=PLANB_MAP");
    if let Ok(map) = std::env::var("PLANB_MAP") {
        println!("cargo::rustc-link-arg-bins=/MAP:{map}");
    }
    println!("cargo::rustc-link-lib=ndis");
    println!("cargo::rustc-link-lib=cng");
    wdk_build::configure_wdk_binary_build()
}
