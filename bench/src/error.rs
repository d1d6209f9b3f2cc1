//! What can go wrong, by who must act: [`BenchError`] ends the run and is for the person at the
//! keyboard, [`ClientError`] ends one connection.

use std::io;

use rustls::CertificateError;
use thiserror::Error;

/// Why a run could not be done.
#[derive(Debug, Error)]
pub(crate) enum BenchError {
    /// The URL is not one that this program can use.
    #[error("--url {url}: {reason}")]
    Url {
        /// As given.
        url: String,
        /// What is wrong with it.
        reason: &'static str,
    },
    /// The server's name has no address.
    #[error("cannot find the address of {authority}: {source}")]
    Resolve {
        /// Host and port.
        authority: String,
        /// The resolver's answer.
        source: io::Error,
    },
    /// The stamp does not fit into the payload.
    #[error("--size {size_bytes} is too small: a measured message needs {size_bytes_min} bytes")]
    PayloadTooSmall {
        /// As given, in bytes.
        size_bytes: usize,
        /// The least possible, in bytes.
        size_bytes_min: usize,
    },
    /// A file that should have certificates has none.
    #[error("--ca {file}: there is no certificate in PEM in it")]
    NoCertificate {
        /// Its name as given.
        file: String,
    },
    /// TLS is not possible.
    #[error("TLS cannot be set up: {0}")]
    Tls(#[source] rustls::Error),
    /// A number on the command line makes no sense.
    #[error("--{option} must be {expected}")]
    Option {
        /// Its name without the dashes.
        option: &'static str,
        /// What would make sense.
        expected: &'static str,
    },
    /// More connections than descriptors.
    #[error(
        "{connections} connections in one process, but it may open {descriptors} descriptors: \
         use --processes {processes} or more, or raise the hard limit (ulimit -Hn)"
    )]
    Descriptors {
        /// Connections each process would have to hold.
        connections: u32,
        /// Descriptors it may open.
        descriptors: u64,
        /// Processes that would do.
        processes: u64,
    },
    /// A process whose use is to be measured cannot be looked at.
    #[error(
        "cannot read the use of process {pid}: {source} (is --server-pid right, and the server \
         still running?)"
    )]
    Process {
        /// Its id.
        pid: u32,
        /// Why not.
        source: io::Error,
    },
    /// The server's protocol has no such thing.
    #[error("--protocol {protocol} {what}")]
    Capability {
        /// Its name on the command line.
        protocol: String,
        /// What it cannot do.
        what: &'static str,
    },
    /// A generator process gave up.
    #[error("generator process {index}: {reason}")]
    Worker {
        /// Its index, from 0.
        index: usize,
        /// In its own words.
        reason: String,
    },
    /// A generator process ended without a word.
    #[error("generator process {index} ended unexpectedly")]
    WorkerLost {
        /// Its index, from 0.
        index: usize,
    },
    /// The connection that publishes failed.
    #[error("the publishing connection failed: {0}")]
    Publish(#[source] ClientError),
    /// A client could not be connected again.
    #[error("a client could not connect again: {0}")]
    Reconnect(#[source] ClientError),
    /// The publisher's thread panicked.
    #[error("the publisher's thread ended unexpectedly")]
    PublisherLost,
    /// The operating system refused something.
    #[error("{action}: {source}")]
    System {
        /// What was attempted.
        action: &'static str,
        /// Why not.
        source: io::Error,
    },
    /// A message between the processes of the run was no JSON.
    #[error("a message between generator processes cannot be read or written: {0}")]
    Control(#[from] serde_json::Error),
    /// A file of the report cannot be read or written.
    #[error("{file}: {source}")]
    File {
        /// Its name as given.
        file: String,
        /// Why not.
        source: io::Error,
    },
    /// A file is not the result of a run.
    #[error("{file} is no result of this program: {reason}")]
    NoOutcome {
        /// Its name as given.
        file: String,
        /// What is wrong with it.
        reason: String,
    },
    /// A plot cannot be drawn.
    #[error("drawing \"{title}\": {reason}")]
    Plot {
        /// Which.
        title: String,
        /// In the words of the plotting library.
        reason: String,
    },
    /// The bounds of a histogram are impossible.
    #[error("histogram: {0}")]
    Histogram(#[from] hdrhistogram::CreationError),
    /// The report could not be written.
    #[error("cannot write the report: {0}")]
    Output(#[from] io::Error),
}

/// Why one connection to the server is of no more use.
#[derive(Debug, Error)]
pub(crate) enum ClientError {
    /// The socket failed.
    #[error("{0}")]
    Socket(#[from] io::Error),
    /// Nobody that is trusted vouches for the server.
    #[error("the server's certificate is not trusted: --ca FILE or --insecure")]
    Untrusted,
    /// The server's certificate is not good, whoever vouches for it.
    #[error("{0} (--insecure accepts any)")]
    Certificate(#[source] rustls::Error),
    /// TLS failed.
    #[error("TLS with the server failed: {0}")]
    Tls(#[source] rustls::Error),
    /// The server ended the connection.
    #[error("closed by the server{}", close_code(*code))]
    Closed {
        /// Code of its close frame, if it sent one.
        code: Option<u16>,
    },
    /// The server answered the upgrade with this HTTP status.
    #[error("the server answered the WebSocket upgrade with HTTP status {status}")]
    Upgrade {
        /// HTTP status.
        status: u16,
    },
    /// The server's answer cannot be understood.
    #[error("cannot understand the server: {what}")]
    Malformed {
        /// What was malformed.
        what: &'static str,
    },
    /// The server refused a command.
    #[error("{command} refused: {reason}")]
    Refused {
        /// Which.
        command: &'static str,
        /// The server's code and words.
        reason: String,
    },
    /// The server ended a subscription on its own.
    #[error("unsubscribed by the server")]
    Unsubscribed,
    /// The server refused the HTTP API call.
    #[error("the HTTP API answered with status {status}{}", api_remedy(*status))]
    Api {
        /// HTTP status.
        status: u16,
    },
    /// Not all subscriptions came to be.
    #[error("only {subscribed} of {wanted} subscribed, and no progress for {seconds} s")]
    Stalled {
        /// Subscriptions that stand.
        subscribed: usize,
        /// Subscriptions wanted.
        wanted: usize,
        /// Seconds without progress.
        seconds: u64,
    },
}

fn close_code(code: Option<u16>) -> String {
    code.map_or_else(String::new, |code| format!(" with code {code}"))
}

fn api_remedy(status: u16) -> &'static str {
    if status == 401 { ": is --api-key right? (for pusher: --app-key, --app-secret)" } else { "" }
}

impl From<rustls::Error> for ClientError {
    fn from(error: rustls::Error) -> Self {
        match error {
            // The others: an authority of the same name as the issuer, with another key.
            rustls::Error::InvalidCertificate(
                CertificateError::UnknownIssuer
                | CertificateError::BadSignature
                | CertificateError::UnsupportedSignatureAlgorithmForPublicKeyContext { .. },
            ) => Self::Untrusted,
            rustls::Error::InvalidCertificate(_) => Self::Certificate(error),
            _ => Self::Tls(error),
        }
    }
}

impl BenchError {
    /// A closure for `map_err` that names the file.
    pub(crate) fn file(file: &str) -> impl FnOnce(io::Error) -> Self {
        |source| Self::File { file: file.to_owned(), source }
    }

    /// A closure for `map_err` that says what was attempted.
    pub(crate) fn system(action: &'static str) -> impl FnOnce(io::Error) -> Self {
        move |source| Self::System { action, source }
    }
}
