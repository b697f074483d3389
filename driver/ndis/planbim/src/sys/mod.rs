//! What the intermediate driver asks of Windows besides what both images share (`pfimage`): all unsafe code of this image.

pub mod entry;
pub mod miniport;
pub mod ndis;
pub mod protocol;
