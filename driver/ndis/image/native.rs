/// What every native image is linked with: the driver's, and the mock's that Wine loads.
pub const NATIVE: &[&str] = &[
    "/DRIVER",
    "/SUBSYSTEM:NATIVE",
    "/ENTRY:DriverEntry",
    "/NODEFAULTLIB",
    "/DYNAMICBASE",
    "/NXCOMPAT",
    "/MANIFEST:NO",
];
