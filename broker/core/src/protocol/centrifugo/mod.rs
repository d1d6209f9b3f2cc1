//! The Centrifugo client protocol; `docs/protocols/centrifugo.md` says what of it is spoken.

pub(super) mod json;
