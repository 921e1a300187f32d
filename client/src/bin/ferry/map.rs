//! `ferry map`: a DERP map judged, shown and compared.

pub(crate) mod diff;
pub(crate) mod lint;
pub(crate) mod show;
