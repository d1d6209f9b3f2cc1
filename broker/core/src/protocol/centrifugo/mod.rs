//! The Centrifugo client protocol; `docs/protocols/centrifugo.md` says what of it is spoken.

pub(crate) mod json;
