//! Linked as every image of the driver is.

#[path = "../image/link.rs"]
mod link;

fn main() -> Result<(), wdk_build::ConfigError> {
    link::image("planbim")
}
