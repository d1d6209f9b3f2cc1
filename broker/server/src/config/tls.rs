//! `[server.tls]`: as it is written, and the certificate and key that its files hold. They are read
//! once, here: what is wrong with them is told before the broker runs.

use std::sync::Arc;
use std::{fmt, fs};

use rustls::ServerConfig;
use rustls::crypto::aws_lc_rs::Ticketer;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::NoServerSessionStorage;
use rustls::sign::CertifiedKey;
use rustls::{Error, InconsistentKeys};
use serde::{Deserialize, Serialize};

use super::check::Violation;
use crate::trust;

const CERT_KEY: &str = "server.tls.cert_file";
const KEY_KEY: &str = "server.tls.key_file";
/// What is spoken inside.
const ALPN: &[u8] = b"http/1.1";
/// Tickets that a client gets to resume with. Each is good for one connection, which brings the
/// next.
const TICKETS: usize = 1;

/// `[server.tls]`
#[derive(Clone, Debug, Default, PartialEq, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields, expecting = "the section [server.tls]")]
pub(crate) struct TlsFiles {
    /// Certificates in PEM, the server's own first; empty = the public port is plain.
    pub(crate) cert_file: String,
    /// The private key of the first, in PEM.
    pub(crate) key_file: String,
}

/// What the public port needs to speak TLS.
#[derive(Clone)]
pub(crate) struct TlsIdentity(pub(crate) Arc<ServerConfig>);

/// Shows that it is there: what is printed with `{:?}` ends in logs.
impl fmt::Debug for TlsIdentity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("TlsIdentity(***)")
    }
}

/// What the section means; `None` = no TLS.
pub(super) fn identity(files: &TlsFiles) -> Result<Option<TlsIdentity>, Violation> {
    match (files.cert_file.as_str(), files.key_file.as_str()) {
        ("", "") => return Ok(None),
        ("", _) | (_, "") => {
            return Err(Violation {
                keys: [CERT_KEY, KEY_KEY].map(str::to_owned).to_vec(),
                cause: format!("{CERT_KEY} and {KEY_KEY} belong together, and one is missing"),
                remedy: "give both to speak TLS, or neither".to_owned(),
            });
        }
        _ => {}
    }
    let certificates = certificates(&files.cert_file)?;
    let key = private_key(&files.key_file)?;
    server_config(certificates, key).map(Some).map_err(|error| unusable(files, &error))
}

fn server_config(
    certificates: Vec<CertificateDer<'static>>,
    key: PrivateKeyDer<'static>,
) -> Result<TlsIdentity, Error> {
    let provider = trust::provider();
    // Checks that the key fits the certificate; the builder does not mind if it cannot tell.
    CertifiedKey::from_der(certificates.clone(), key.clone_key(), &provider)?.keys_match()?;
    let mut config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()?
        .with_no_client_auth()
        .with_single_cert(certificates, key)?;
    config.alpn_protocols = vec![ALPN.to_vec()];
    // A ticket holds the session, sealed: nothing is remembered here, and every shard can open it.
    config.ticketer = Ticketer::new()?;
    config.session_storage = Arc::new(NoServerSessionStorage {});
    config.send_tls13_tickets = TICKETS;
    Ok(TlsIdentity(Arc::new(config)))
}

fn certificates(path: &str) -> Result<Vec<CertificateDer<'static>>, Violation> {
    let pem = read(CERT_KEY, path)?;
    let certificates: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(&pem).collect();
    match certificates {
        Ok(certificates) if !certificates.is_empty() => Ok(certificates),
        Ok(_) => Err(no_certificate(format!("{path} holds no certificate"))),
        Err(error) => Err(no_certificate(format!("{path} is no PEM: {error}"))),
    }
}

fn private_key(path: &str) -> Result<PrivateKeyDer<'static>, Violation> {
    let pem = read(KEY_KEY, path)?;
    // The error may quote the file.
    PrivateKeyDer::from_pem_slice(&pem).map_err(|_| Violation {
        keys: vec![KEY_KEY.to_owned()],
        cause: format!("{path} holds no private key that can be read"),
        remedy:
            "give one in PEM, with its line -----BEGIN PRIVATE KEY-----; one with a passphrase \
                 is opened by `openssl pkey -in KEY.pem -out OPEN.pem`"
                .to_owned(),
    })
}

fn read(key: &str, path: &str) -> Result<Vec<u8>, Violation> {
    fs::read(path).map_err(|error| Violation {
        keys: vec![key.to_owned()],
        cause: format!("cannot read {path}: {error}"),
        remedy: "let the user that runs fanwire read it; the path counts from where fanwire is \
                 started"
            .to_owned(),
    })
}

fn no_certificate(cause: String) -> Violation {
    Violation {
        keys: vec![CERT_KEY.to_owned()],
        cause,
        remedy: "give the server's certificate in PEM, with its line -----BEGIN \
                 CERTIFICATE-----, and after it those between it and its root"
            .to_owned(),
    }
}

fn unusable(files: &TlsFiles, error: &Error) -> Violation {
    let TlsFiles { cert_file, key_file } = files;
    match error {
        Error::InconsistentKeys(InconsistentKeys::KeyMismatch) => Violation {
            keys: [KEY_KEY, CERT_KEY].map(str::to_owned).to_vec(),
            cause: format!("the key in {key_file} is not that of the certificate in {cert_file}"),
            remedy: "give files that were made together; the server's own certificate is the \
                     first in its file"
                .to_owned(),
        },
        Error::InvalidCertificate(cause) => {
            no_certificate(format!("the certificate in {cert_file} cannot be used: {cause}"))
        }
        _ => Violation {
            keys: vec![KEY_KEY.to_owned()],
            cause: format!("the key in {key_file} cannot be used: {error}"),
            remedy: "RSA, ECDSA (P-256, P-384, P-521) and Ed25519 are good, as `openssl genpkey \
                     -algorithm ed25519` makes one"
                .to_owned(),
        },
    }
}
