//! TLS without a socket: whom this program trusts, and a session that seals what is said and
//! unseals what is heard. `client::stream` and `publisher::halves` bring the bytes.

use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{self, CryptoProvider, aws_lc_rs};
use rustls::pki_types::pem::{self, PemObject};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{
    ClientConfig, ClientConnection, DigitallySignedStruct, RootCertStore, SignatureScheme,
};
use serde::{Deserialize, Serialize};

use crate::client::target::Target;
use crate::error::{BenchError, ClientError};

/// Whom to believe that he is the server.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
pub(crate) enum Trust {
    /// Who has a certificate of an authority that the system trusts, or of one in this PEM file.
    Authorities(Option<PathBuf>),
    /// Anybody.
    Anybody,
}

impl Trust {
    /// For the parameters of a result.
    pub(crate) fn words(&self) -> &'static str {
        match self {
            Self::Authorities(_) => "certificate checked",
            Self::Anybody => "any certificate accepted",
        }
    }
}

/// What all TLS connections of a process share, the sessions to be resumed among it.
#[derive(Clone, Debug)]
pub(crate) struct Tls {
    config: Arc<ClientConfig>,
    name: ServerName<'static>,
}

impl Tls {
    /// What connections to `target` need; `None` when it is spoken to without TLS.
    ///
    /// # Errors
    /// `Url` when nobody can have a certificate for the host, `File` or `NoCertificate` when the
    /// file of authorities cannot be used.
    pub(crate) fn new(target: &Target) -> Result<Option<Self>, BenchError> {
        let Some(trust) = &target.tls else { return Ok(None) };
        let name = ServerName::try_from(target.host().to_owned()).map_err(|_| BenchError::Url {
            url: target.authority.clone(),
            reason: "is no host that a certificate can be for",
        })?;
        let provider = Arc::new(aws_lc_rs::default_provider());
        let builder = ClientConfig::builder_with_provider(Arc::clone(&provider))
            .with_safe_default_protocol_versions()
            .map_err(BenchError::Tls)?;
        let builder = match trust {
            Trust::Authorities(file) => builder.with_root_certificates(roots(file.as_deref())?),
            Trust::Anybody => {
                let verifier = Arc::new(Credulous(provider));
                builder.dangerous().with_custom_certificate_verifier(verifier)
            }
        };
        Ok(Some(Self { config: Arc::new(builder.with_no_client_auth()), name }))
    }

    /// The session of a new connection. It has its first words to say at once.
    ///
    /// # Errors
    /// `Tls`.
    pub(crate) fn session(&self) -> Result<Session, ClientError> {
        let mut session = ClientConnection::new(Arc::clone(&self.config), self.name.clone())?;
        // What a server does not read is kept here, as it is where there is no TLS.
        session.set_buffer_limit(None);
        Ok(Session(session))
    }
}

/// The system's authorities and those in `file`. What of the system's cannot be read is left out.
fn roots(file: Option<&Path>) -> Result<RootCertStore, BenchError> {
    let mut store = RootCertStore::empty();
    store.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
    let Some(path) = file else { return Ok(store) };
    let file = path.display().to_string();
    let fault = |error: pem::Error| match error {
        pem::Error::Io(source) => BenchError::File { file: file.clone(), source },
        _ => BenchError::NoCertificate { file: file.clone() },
    };
    let certificates: Result<Vec<_>, _> =
        CertificateDer::pem_file_iter(path).map_err(fault)?.collect();
    let (added, _) = store.add_parsable_certificates(certificates.map_err(fault)?);
    if added == 0 { Err(BenchError::NoCertificate { file }) } else { Ok(store) }
}

/// The state of one TLS connection.
#[derive(Debug)]
pub(crate) struct Session(ClientConnection);

/// What has come out of sealed bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Unsealed {
    /// Bytes.
    pub(crate) count: usize,
    /// Whether the server has said that they are the last.
    pub(crate) is_end: bool,
}

impl Session {
    /// Takes all of `sealed` and puts what is in it at the start of `room`, which has to be 20 KiB
    /// larger: so much may have waited for its end. After an error the session may have one more
    /// thing to say, why it gives up.
    ///
    /// # Errors
    /// `Untrusted` or `Certificate` when the server is not to be believed, `Tls`.
    pub(crate) fn unseal(
        &mut self,
        mut sealed: &[u8],
        room: &mut [u8],
    ) -> Result<Unsealed, ClientError> {
        let mut unsealed = Unsealed { count: 0, is_end: false };
        loop {
            self.drain(room, &mut unsealed)?;
            // Takes some 4 KiB at a time, and nothing after the end.
            if unsealed.is_end || sealed.is_empty() || self.0.read_tls(&mut sealed)? == 0 {
                return Ok(unsealed);
            }
            self.0.process_new_packets()?;
        }
    }

    fn drain(&mut self, room: &mut [u8], unsealed: &mut Unsealed) -> Result<(), ClientError> {
        while let Some(rest) = room.get_mut(unsealed.count..).filter(|rest| !rest.is_empty()) {
            match self.0.reader().read(rest) {
                Ok(0) => {
                    unsealed.is_end = true;
                    break;
                }
                Ok(count) => unsealed.count += count,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                Err(error) => return Err(error.into()),
            }
        }
        Ok(())
    }

    /// Takes what is to be said; before the handshake is over it waits for that.
    ///
    /// # Errors
    /// `Socket`, which does not happen: there is no limit.
    pub(crate) fn seal(&mut self, bytes: &[u8]) -> Result<(), ClientError> {
        Ok(self.0.writer().write_all(bytes)?)
    }

    /// Takes that no more will be said.
    pub(crate) fn seal_end(&mut self) {
        self.0.send_close_notify();
    }

    /// Whether there is something to write.
    pub(crate) fn has_sealed(&self) -> bool {
        self.0.wants_write()
    }

    /// Writes some of what is sealed.
    ///
    /// # Errors
    /// Those of `output`.
    pub(crate) fn write_to(&mut self, output: &mut impl Write) -> io::Result<usize> {
        self.0.write_tls(output)
    }

    /// Does the handshake on a socket that blocks.
    ///
    /// # Errors
    /// As `unseal`; `Closed` when the server ends it, `Socket` when it says nothing in time.
    pub(crate) fn shake_hands(
        &mut self,
        socket: &mut (impl Read + Write),
    ) -> Result<(), ClientError> {
        while self.0.is_handshaking() {
            self.0.complete_io(socket).map_err(|error| match error.kind() {
                io::ErrorKind::UnexpectedEof => ClientError::Closed { code: None },
                io::ErrorKind::WouldBlock => io::Error::from(io::ErrorKind::TimedOut).into(),
                _ => error.downcast::<rustls::Error>().map_or_else(Into::into, Into::into),
            })?;
        }
        Ok(())
    }
}

/// Believes every certificate. Signatures are checked all the same: that is what a handshake costs
/// a client.
#[derive(Debug)]
struct Credulous(Arc<CryptoProvider>);

impl ServerCertVerifier for Credulous {
    fn verify_server_cert(
        &self,
        _end_entity: &CertificateDer<'_>,
        _intermediates: &[CertificateDer<'_>],
        _server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        _now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let algorithms = &self.0.signature_verification_algorithms;
        crypto::verify_tls12_signature(message, certificate, signature, algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let algorithms = &self.0.signature_verification_algorithms;
        crypto::verify_tls13_signature(message, certificate, signature, algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}

#[cfg(test)]
#[path = "tls_tests.rs"]
mod tests;
