//! What the filter asks of Windows besides what both images share (`pfimage`): all unsafe code of this image.

pub mod callbacks;
pub mod entry;
pub mod ndis;
