//! The command-line clients `fanwire pub` and `fanwire sub`: a small blocking client of the
//! Centrifugo protocol's JSON form. They share nothing with the broker.

mod connection;
mod credentials;
mod endpoint;
mod error;
mod http;
mod positions;
mod publish;
mod subscribe;
mod tls;
mod wire;

pub(crate) use endpoint::DEFAULT_URL;
pub(crate) use error::ClientError;
pub(crate) use publish::publish;
pub(crate) use subscribe::subscribe;
