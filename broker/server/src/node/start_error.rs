//! Why a node could not start, for the operator: the cause as `Display`, the way out as
//! [`StartError::remedy`].

use std::io;
use std::net::SocketAddr;

/// Which address of the configuration is meant.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum AddressKey {
    /// Clients and backends.
    Server,
    /// Health and metrics.
    Admin,
}

impl AddressKey {
    fn name(self) -> &'static str {
        match self {
            Self::Server => "server.address",
            Self::Admin => "admin.address",
        }
    }

    fn other_address(self) -> &'static str {
        match self {
            Self::Server => "choose another address with --listen or server.address",
            Self::Admin => "choose another address with admin.address",
        }
    }
}

/// Who has the address already.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Holder {
    /// Another node of ours.
    Fanwire,
    /// Something that we cannot name.
    Unknown,
}

impl Holder {
    fn name(self) -> &'static str {
        match self {
            Self::Fanwire => "another Fanwire",
            Self::Unknown => "another program",
        }
    }
}

/// Why the kernel gives no io_uring.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum RingDenial {
    /// The sysctl `kernel.io_uring_disabled`.
    Sysctl(u8),
    /// EPERM or ENOSYS without the sysctl: a seccomp filter, as containers have one.
    Filtered,
    /// EINVAL: the kernel lacks the flags, which came with 6.1.
    KernelTooOld,
    /// ENOMEM: locked memory or memory of the control group.
    Memory,
    /// Anything else.
    Other,
}

/// A node could not start. No shard runs.
#[derive(Debug, thiserror::Error)]
pub(crate) enum StartError {
    /// The port is taken.
    #[error("{key} {address} is in use by {holder}", key = .key.name(), holder = .holder.name())]
    AddressInUse {
        /// Which address.
        key: AddressKey,
        /// Its value.
        address: SocketAddr,
        /// Who has it.
        holder: Holder,
    },
    /// The port may not be bound by this user.
    #[error("no permission to listen on {key} {address}", key = .key.name())]
    AddressDenied {
        /// Which address.
        key: AddressKey,
        /// Its value.
        address: SocketAddr,
    },
    /// No network interface has this address.
    #[error("this machine has no address {}, which {key} names", .address.ip(), key = .key.name())]
    AddressUnknown {
        /// Which address.
        key: AddressKey,
        /// Its value.
        address: SocketAddr,
    },
    /// Listening failed for another reason.
    #[error("cannot listen on {key} {address}: {source}", key = .key.name())]
    Listen {
        /// Which address.
        key: AddressKey,
        /// Its value.
        address: SocketAddr,
        /// What the kernel said.
        source: io::Error,
    },
    /// io_uring cannot be had.
    #[error("{}", ring_cause(*.denial, .source))]
    Ring {
        /// Why.
        denial: RingDenial,
        /// What the kernel said.
        source: io::Error,
    },
    /// RLIMIT_MEMLOCK is too low and cannot be raised.
    #[error("the limit of locked memory is {limit} bytes; Fanwire needs {needed}")]
    Memlock {
        /// The hard limit.
        limit: u64,
        /// What would do.
        needed: u64,
    },
    /// RLIMIT_NOFILE is too low and cannot be raised.
    #[error("the limit of open files is {limit}; Fanwire needs {needed} for {shards} shards")]
    OpenFiles {
        /// The hard limit.
        limit: u64,
        /// What would do.
        needed: u64,
        /// Shards that are to run.
        shards: usize,
    },
    /// A shard's thread, executor or ring could not be made.
    #[error("shard {index} cannot start: {cause}")]
    Shard {
        /// Which shard.
        index: usize,
        /// What failed, in the words of the library or the kernel.
        cause: String,
    },
    /// Something that always succeeds, but for a machine that is out of everything.
    #[error("{what}: {source}")]
    System {
        /// What was tried.
        what: &'static str,
        /// What the kernel said.
        source: io::Error,
    },
}

impl StartError {
    /// What the operator can do about it, in one line.
    pub(crate) fn remedy(&self) -> String {
        match self {
            Self::AddressInUse { key, holder: Holder::Fanwire, .. } => {
                format!("stop it, or {}", key.other_address())
            }
            Self::AddressInUse { key, address, .. } => format!(
                "see which with `ss -ltnp 'sport = :{}'`, stop it, or {}",
                address.port(),
                key.other_address()
            ),
            Self::AddressDenied { address, key } if address.port() < 1024 => format!(
                "ports below 1024 need CAP_NET_BIND_SERVICE (`setcap cap_net_bind_service=+ep`); \
                 or {}",
                key.other_address()
            ),
            Self::AddressDenied { key, .. }
            | Self::AddressUnknown { key, .. }
            | Self::Listen { key, .. } => key.other_address().to_owned(),
            Self::Ring { denial, .. } => ring_remedy(*denial).to_owned(),
            Self::Memlock { .. } => "raise it: `ulimit -l 8192`, LimitMEMLOCK=8M in systemd, \
                `--ulimit memlock=8388608` in Docker"
                .to_owned(),
            Self::OpenFiles { .. } => "raise it: `ulimit -n 65536`, LimitNOFILE=65536 in systemd, \
                `--ulimit nofile=65536` in Docker"
                .to_owned(),
            Self::Shard { .. } => "try fewer shards (--shards), or more memory".to_owned(),
            Self::System { .. } => "look at the limits of this machine and user".to_owned(),
        }
    }
}

fn ring_cause(denial: RingDenial, source: &io::Error) -> String {
    match denial {
        RingDenial::Sysctl(value) => {
            format!("io_uring is switched off here (kernel.io_uring_disabled = {value})")
        }
        RingDenial::Filtered => format!("io_uring is denied to this process ({source})"),
        RingDenial::KernelTooOld => {
            "this kernel is too old: Fanwire needs Linux 6.1 or later".to_owned()
        }
        RingDenial::Memory => format!("no memory for io_uring ({source})"),
        RingDenial::Other => format!("io_uring cannot be used: {source}"),
    }
}

fn ring_remedy(denial: RingDenial) -> &'static str {
    match denial {
        RingDenial::Sysctl(_) => "switch it on: `sysctl kernel.io_uring_disabled=0`",
        RingDenial::Filtered => {
            "a seccomp filter does this, as in Docker's default profile: allow io_uring_setup, \
             io_uring_enter and io_uring_register, or run with --security-opt seccomp=unconfined"
        }
        RingDenial::KernelTooOld => "see yours with `uname -r`",
        RingDenial::Memory => {
            "raise the limit of locked memory (`ulimit -l 8192`, LimitMEMLOCK=8M) or the memory \
             of the container"
        }
        RingDenial::Other => "check that io_uring works for other programs of this user",
    }
}
