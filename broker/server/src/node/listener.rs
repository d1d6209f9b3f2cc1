//! Listening sockets: one per shard on the same port (SO_REUSEPORT), one for the admin port.
//!
//! SO_REUSEPORT would let a second node bind the same port in silence and take half of the
//! connections. Two guards refuse it: a name in the abstract socket namespace, held for the
//! process' life, and a trial bind without SO_REUSEPORT, which also finds other programs.

use std::io;
use std::net::{SocketAddr, TcpListener};
use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::{SocketAddr as UnixAddress, UnixListener};

use socket2::{Domain, Protocol, Socket, Type};

use super::start_error::{AddressKey, Holder, StartError};
use crate::config::AdminConfig;

/// Connections that the kernel completes before a shard accepts them; bounded by
/// `net.core.somaxconn` too.
const BACKLOG: i32 = 4096;

/// The public port, bound once per shard.
#[derive(Debug)]
pub(crate) struct PublicListeners {
    /// The address, with the port that was chosen where the configuration said 0.
    pub(crate) address: SocketAddr,
    /// One per shard.
    pub(crate) listeners: Vec<TcpListener>,
    /// Keeps a second node away; to be held as long as the listeners.
    pub(crate) claim: UnixListener,
}

/// Binds the public port for `shards` shards.
///
/// # Errors
///
/// The address is taken, unknown or denied.
pub(crate) fn bind_public(
    wanted: SocketAddr,
    shards: usize,
) -> Result<PublicListeners, StartError> {
    let failed = |error| start_error(AddressKey::Server, wanted, error);
    if wanted.port() != 0 {
        // Only the claim can say that it is a Fanwire, so it is asked before the trial.
        let claim = claim(wanted)?;
        bind(wanted, Sharing::Alone).map_err(failed)?;
        let listeners = bind_each(wanted, shards).map_err(failed)?;
        return Ok(PublicListeners { address: wanted, listeners, claim });
    }
    let first = listen(wanted, Sharing::Shards).map_err(failed)?;
    let address = first.local_addr().map_err(failed)?;
    let claim = claim(address)?;
    let mut listeners = vec![first];
    listeners.extend(bind_each(address, shards.saturating_sub(1)).map_err(failed)?);
    Ok(PublicListeners { address, listeners, claim })
}

/// Binds the admin port, for one shard: the preferred one if there is one and it is free.
///
/// # Errors
///
/// The address is taken, unknown or denied.
pub(crate) fn bind_admin(admin: &AdminConfig) -> Result<(TcpListener, SocketAddr), StartError> {
    let failed = |error| start_error(AddressKey::Admin, admin.address, error);
    let preferred = admin.preferred_port.map(|port| SocketAddr::new(admin.address.ip(), port));
    let listener = preferred.and_then(|preferred| listen(preferred, Sharing::Alone).ok());
    let listener = match listener {
        Some(listener) => listener,
        None => listen(admin.address, Sharing::Alone).map_err(failed)?,
    };
    let address = listener.local_addr().map_err(failed)?;
    Ok((listener, address))
}

/// Whether other sockets of this user may bind the same port.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Sharing {
    Alone,
    Shards,
}

fn bind_each(address: SocketAddr, count: usize) -> io::Result<Vec<TcpListener>> {
    (0..count).map(|_| listen(address, Sharing::Shards)).collect()
}

fn listen(address: SocketAddr, sharing: Sharing) -> io::Result<TcpListener> {
    let socket = bind(address, sharing)?;
    // Accepted sockets inherit it, which saves a call for each.
    socket.set_tcp_nodelay(true)?;
    socket.listen(BACKLOG)?;
    Ok(socket.into())
}

/// socket2 sets close-on-exec itself.
fn bind(address: SocketAddr, sharing: Sharing) -> io::Result<Socket> {
    let kind = Type::STREAM.nonblocking();
    let socket = Socket::new(Domain::for_address(address), kind, Some(Protocol::TCP))?;
    // Without it, connections of a node that just ended (TIME_WAIT) would keep the port.
    socket.set_reuse_address(true)?;
    if sharing == Sharing::Shards {
        socket.set_reuse_port(true)?;
    }
    socket.bind(&address.into())?;
    Ok(socket)
}

/// Abstract names vanish with their process, however it ends; there is no file to clean up.
fn claim(address: SocketAddr) -> Result<UnixListener, StartError> {
    let name = format!("fanwire:{}:{}", address.ip(), address.port());
    let key = AddressKey::Server;
    let bound =
        UnixAddress::from_abstract_name(name).and_then(|name| UnixListener::bind_addr(&name));
    bound.map_err(|source| match source.kind() {
        io::ErrorKind::AddrInUse => {
            StartError::AddressInUse { key, address, holder: Holder::Fanwire }
        }
        _ => StartError::Listen { key, address, source },
    })
}

fn start_error(key: AddressKey, address: SocketAddr, source: io::Error) -> StartError {
    match source.kind() {
        io::ErrorKind::AddrInUse => {
            StartError::AddressInUse { key, address, holder: Holder::Unknown }
        }
        io::ErrorKind::AddrNotAvailable => StartError::AddressUnknown { key, address },
        io::ErrorKind::PermissionDenied => StartError::AddressDenied { key, address },
        _ => StartError::Listen { key, address, source },
    }
}

#[cfg(test)]
mod tests {
    use std::net::{SocketAddr, TcpListener};

    use super::{AdminConfig, Holder, StartError, bind_admin, bind_public};

    fn loopback() -> SocketAddr {
        "127.0.0.1:0".parse().unwrap()
    }

    #[test]
    fn every_shard_listens_on_the_port_that_was_chosen() {
        let public = bind_public(loopback(), 3).unwrap();
        assert_ne!(public.address.port(), 0);
        assert_eq!(public.listeners.len(), 3);
        for listener in &public.listeners {
            assert_eq!(listener.local_addr().unwrap(), public.address);
        }
    }

    #[test]
    fn a_second_node_on_the_same_port_is_refused_by_name() {
        let public = bind_public(loopback(), 2).unwrap();
        let error = bind_public(public.address, 2).unwrap_err();
        assert!(matches!(error, StartError::AddressInUse { holder: Holder::Fanwire, .. }));
        assert!(error.to_string().contains("another Fanwire"), "{error}");
        let address = public.address;
        drop(public);
        bind_public(address, 2).unwrap();
    }

    #[test]
    fn a_port_of_another_program_is_refused() {
        let other = TcpListener::bind(loopback()).unwrap();
        let address = other.local_addr().unwrap();
        let admin = AdminConfig { address, preferred_port: None };
        for error in [bind_public(address, 2).unwrap_err(), bind_admin(&admin).unwrap_err()] {
            assert!(matches!(error, StartError::AddressInUse { holder: Holder::Unknown, .. }));
            assert!(error.remedy().contains("choose another"), "{}", error.remedy());
        }
    }

    #[test]
    fn a_preferred_admin_port_that_is_taken_gives_way_to_the_address() {
        let other = TcpListener::bind(loopback()).unwrap();
        let port = other.local_addr().unwrap().port();
        let admin = AdminConfig { address: loopback(), preferred_port: Some(port) };
        assert_ne!(bind_admin(&admin).unwrap().1.port(), port);
        drop(other);
        assert_eq!(bind_admin(&admin).unwrap().1.port(), port);
    }

    #[test]
    fn an_address_of_another_machine_is_named() {
        let error = bind_public("192.0.2.1:8000".parse().unwrap(), 1).unwrap_err();
        assert!(matches!(error, StartError::AddressUnknown { .. }), "{error}");
    }
}
