//! Who is trusted, and who we are: what a client and a server settle before their first connection.

use std::fmt;
use std::sync::Arc;

use rustls::client::Resumption;
use rustls::crypto::{CryptoProvider, ring};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::WebPkiClientVerifier;
use rustls::{ClientConfig, RootCertStore, ServerConfig};

use super::error::TlsError;

/// Servers whose sessions a client remembers, unless it says otherwise: each takes a few kilobytes.
const SESSIONS_MAX: usize = 256;

/// The one protocol that is offered and accepted by ALPN unless it is said otherwise.
const HTTP_1_1: &[u8] = b"http/1.1";

/// What makes a stream a TLS connection to a server: roots, perhaps a certificate of our own, and the sessions of the
/// servers that it knows, so that the next connection to one of them takes a shorter handshake. Cheap to clone; the
/// clones share the sessions.
#[derive(Clone)]
pub struct TlsConnector {
    pub(super) config: Arc<ClientConfig>,
}

impl TlsConnector {
    /// Trusts Mozilla's roots, as the crate `webpki-roots` has them; offers `http/1.1`.
    pub fn new() -> Self {
        Self::builder()
            .build()
            .expect("the roots of webpki-roots can be used")
    }

    /// To choose roots, a certificate of our own, protocols.
    pub fn builder() -> TlsConnectorBuilder {
        TlsConnectorBuilder {
            roots: RootCertStore {
                roots: webpki_roots::TLS_SERVER_ROOTS.to_vec(),
            },
            identity: None,
            protocols: vec![HTTP_1_1.to_vec()],
            sni: true,
            sessions_max: SESSIONS_MAX,
        }
    }
}

impl Default for TlsConnector {
    fn default() -> Self {
        Self::new()
    }
}

impl fmt::Debug for TlsConnector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TlsConnector").finish_non_exhaustive()
    }
}

/// See [`TlsConnector::builder`].
pub struct TlsConnectorBuilder {
    roots: RootCertStore,
    identity: Option<Identity>,
    protocols: Vec<Vec<u8>>,
    sni: bool,
    sessions_max: usize,
}

impl TlsConnectorBuilder {
    /// Trust the certificates of this PEM text as well.
    ///
    /// # Errors
    /// [`TlsError::BadSettings`] if there is none in it, or one that cannot be read.
    pub fn add_roots(mut self, pem: &[u8]) -> Result<Self, TlsError> {
        add_roots(&mut self.roots, pem)?;
        Ok(self)
    }

    /// Trust none of the roots that were there so far: those that are added afterwards replace them.
    pub fn without_roots(mut self) -> Self {
        self.roots.roots.clear();
        self
    }

    /// Show this certificate to servers that ask for one. `chain` begins with it and goes on with those that lead to a
    /// root; `key` is its private key (PKCS#8, PKCS#1 or SEC1). Both are PEM.
    ///
    /// # Errors
    /// [`TlsError::BadSettings`] if one of them is missing or cannot be read.
    pub fn identity(mut self, chain: &[u8], key: &[u8]) -> Result<Self, TlsError> {
        self.identity = Some(Identity::from_pem(chain, key)?);
        Ok(self)
    }

    /// What to offer by ALPN (RFC 7301), the best first; nothing for not to use it. `http/1.1` unless it is said.
    pub fn protocols(mut self, protocols: &[&str]) -> Self {
        self.protocols = in_bytes(protocols);
        self
    }

    /// Do not tell the server which name we mean (SNI, RFC 6066, 3). It can only have one certificate then; the name is
    /// still checked.
    pub fn without_sni(mut self) -> Self {
        self.sni = false;
        self
    }

    /// How many servers' sessions to remember; 0 for none. 256 unless it is said.
    pub fn sessions_max(mut self, sessions_max: usize) -> Self {
        self.sessions_max = sessions_max;
        self
    }

    /// The connector.
    ///
    /// # Errors
    /// [`TlsError::BadSettings`] if there is no root, or if the certificate and the key do not belong together.
    pub fn build(self) -> Result<TlsConnector, TlsError> {
        if self.roots.is_empty() {
            return Err(TlsError::BadSettings(
                "there is no root to trust".to_owned(),
            ));
        }
        let builder = ClientConfig::builder_with_provider(provider())
            .with_safe_default_protocol_versions()
            .map_err(bad_settings)?
            .with_root_certificates(self.roots);
        let mut config = match self.identity {
            Some(Identity { chain, key }) => builder
                .with_client_auth_cert(chain, key)
                .map_err(bad_settings)?,
            None => builder.with_no_client_auth(),
        };
        config.alpn_protocols = self.protocols;
        config.enable_sni = self.sni;
        config.resumption = match self.sessions_max {
            0 => Resumption::disabled(),
            sessions_max => Resumption::in_memory_sessions(sessions_max),
        };
        let config = Arc::new(config);
        Ok(TlsConnector { config })
    }
}

impl fmt::Debug for TlsConnectorBuilder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TlsConnectorBuilder")
            .field("roots", &self.roots.len())
            .finish_non_exhaustive()
    }
}

/// What makes a stream a TLS connection to a client: a certificate, its key, and the sessions that clients may resume.
/// Cheap to clone; the clones share the sessions, also across threads.
#[derive(Clone)]
pub struct TlsAcceptor {
    pub(super) config: Arc<ServerConfig>,
}

impl TlsAcceptor {
    /// With this certificate. `chain` begins with it and goes on with those that lead to a root; `key` is its private
    /// key (PKCS#8, PKCS#1 or SEC1). Both are PEM.
    ///
    /// # Errors
    /// [`TlsError::BadSettings`] if one of them is missing or cannot be read.
    pub fn builder(chain: &[u8], key: &[u8]) -> Result<TlsAcceptorBuilder, TlsError> {
        Ok(TlsAcceptorBuilder {
            identity: Identity::from_pem(chain, key)?,
            clients: Clients::Anonymous,
            protocols: vec![HTTP_1_1.to_vec()],
        })
    }
}

impl fmt::Debug for TlsAcceptor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TlsAcceptor").finish_non_exhaustive()
    }
}

/// See [`TlsAcceptor::builder`].
pub struct TlsAcceptorBuilder {
    identity: Identity,
    clients: Clients,
    protocols: Vec<Vec<u8>>,
}

/// Whether clients are asked for a certificate.
enum Clients {
    Anonymous,
    Asked(RootCertStore),
    Known(RootCertStore),
}

impl TlsAcceptorBuilder {
    /// What to accept by ALPN (RFC 7301), the best first; nothing for not to use it. `http/1.1` unless it is said. A
    /// client that offers none comes in all the same.
    pub fn protocols(mut self, protocols: &[&str]) -> Self {
        self.protocols = in_bytes(protocols);
        self
    }

    /// Let only clients in that show a certificate which leads to one of these roots, in PEM.
    ///
    /// # Errors
    /// [`TlsError::BadSettings`] if there is none in it, or one that cannot be read.
    pub fn require_clients_of(mut self, roots: &[u8]) -> Result<Self, TlsError> {
        self.clients = Clients::Known(roots_of(roots)?);
        Ok(self)
    }

    /// Ask clients for a certificate which leads to one of these roots, in PEM, and let those without any in, too.
    ///
    /// # Errors
    /// [`TlsError::BadSettings`] if there is none in it, or one that cannot be read.
    pub fn ask_clients_of(mut self, roots: &[u8]) -> Result<Self, TlsError> {
        self.clients = Clients::Asked(roots_of(roots)?);
        Ok(self)
    }

    /// The acceptor.
    ///
    /// # Errors
    /// [`TlsError::BadSettings`] if the certificate and the key do not belong together.
    pub fn build(self) -> Result<TlsAcceptor, TlsError> {
        let verifier = |roots: RootCertStore| {
            WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider())
        };
        let builder = ServerConfig::builder_with_provider(provider())
            .with_safe_default_protocol_versions()
            .map_err(bad_settings)?;
        let builder = match self.clients {
            Clients::Anonymous => builder.with_no_client_auth(),
            Clients::Asked(roots) => {
                let verifier = verifier(roots).allow_unauthenticated().build();
                builder.with_client_cert_verifier(verifier.map_err(bad_settings)?)
            }
            Clients::Known(roots) => {
                let verifier = verifier(roots).build();
                builder.with_client_cert_verifier(verifier.map_err(bad_settings)?)
            }
        };
        let mut config = builder
            .with_single_cert(self.identity.chain, self.identity.key)
            .map_err(bad_settings)?;
        config.alpn_protocols = self.protocols;
        let config = Arc::new(config);
        Ok(TlsAcceptor { config })
    }
}

impl fmt::Debug for TlsAcceptorBuilder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TlsAcceptorBuilder").finish_non_exhaustive()
    }
}

/// A certificate of our own.
struct Identity {
    chain: Vec<CertificateDer<'static>>,
    key: PrivateKeyDer<'static>,
}

impl Identity {
    fn from_pem(chain: &[u8], key: &[u8]) -> Result<Self, TlsError> {
        Ok(Self {
            chain: certificates(chain)?,
            key: PrivateKeyDer::from_pem_slice(key)
                .map_err(|error| TlsError::BadSettings(format!("private key: {error}")))?,
        })
    }
}

fn certificates(pem: &[u8]) -> Result<Vec<CertificateDer<'static>>, TlsError> {
    let certificates: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(pem).collect();
    let certificates =
        certificates.map_err(|error| TlsError::BadSettings(format!("certificate: {error}")))?;
    if certificates.is_empty() {
        return Err(TlsError::BadSettings(
            "no certificate in the PEM text".to_owned(),
        ));
    }
    Ok(certificates)
}

fn roots_of(pem: &[u8]) -> Result<RootCertStore, TlsError> {
    let mut roots = RootCertStore::empty();
    add_roots(&mut roots, pem)?;
    Ok(roots)
}

fn add_roots(roots: &mut RootCertStore, pem: &[u8]) -> Result<(), TlsError> {
    for certificate in certificates(pem)? {
        roots.add(certificate).map_err(bad_settings)?;
    }
    Ok(())
}

/// Passed on everywhere: the default of the process belongs to the program, which may have chosen another, or two.
fn provider() -> Arc<CryptoProvider> {
    Arc::new(ring::default_provider())
}

fn bad_settings(error: impl fmt::Display) -> TlsError {
    TlsError::BadSettings(error.to_string())
}

fn in_bytes(protocols: &[&str]) -> Vec<Vec<u8>> {
    let protocols = protocols.iter();
    protocols.map(|name| name.as_bytes().to_vec()).collect()
}
