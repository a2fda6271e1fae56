//! TLS between the parts of a cluster: each shows a certificate of the cluster's own authority, and asks the other for one.
//!
//! Ballista's servers take no certificates, and its connections no settings of ours. So TLS is laid around them:
//!
//! ```text
//! driver, executor ─▶ 127.0.0.1 ══ TLS ══▶ scheduler's port ─▶ scheduler
//! scheduler        ─▶ 127.0.0.1 ══ TLS ══▶ executor's port for tasks ─▶ Ballista, at an address of this machine only
//! ```
//! Whoever has a certificate of the authority is a part of the cluster, whatever its host's name is. Who can run programs on a
//! machine of the cluster can use the ends there.

use std::collections::HashMap;
use std::fmt;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use planner::{Error, Result};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::AbortHandle;
use tokio_rustls::rustls::pki_types::pem::PemObject;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use tokio_rustls::rustls::server::WebPkiClientVerifier;
use tokio_rustls::rustls::{ClientConfig, RootCertStore, ServerConfig};
use tokio_rustls::{TlsAcceptor, TlsConnector};

/// The name that every certificate of a cluster has.
const NAME: &str = "millrace";
/// The files of a folder: as `cert-manager` and Kubernetes' secrets name them.
const FILES: [&str; 3] = ["tls.crt", "tls.key", "ca.crt"];
/// How long a handshake may take.
const HANDSHAKE: Duration = Duration::from_secs(10);

/// What a part of a cluster shows and asks for; none by default: then all is plain text.
#[derive(Clone, Default)]
pub struct Tls(Option<Arc<Keys>>);

struct Keys {
    acceptor: TlsAcceptor,
    connector: TlsConnector,
    /// Ends that were laid, by what they lead to.
    ends: Mutex<HashMap<String, SocketAddr>>,
}

impl fmt::Debug for Tls {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if self.0.is_some() { "Tls(set)" } else { "Tls(none)" })
    }
}

impl Tls {
    /// From a folder with `tls.crt`, `tls.key` and `ca.crt` (PEM).
    ///
    /// # Errors
    /// `Usage` for files that cannot be read or do not fit.
    pub fn load(folder: &Path) -> Result<Self> {
        let [cert, key, ca] = FILES.map(|file| folder.join(file));
        let wrong = |file: &Path, e: &dyn fmt::Display| {
            Error::usage(format!("{} cannot be used for TLS: {e}", file.display()))
                .with_help("the folder needs tls.crt, tls.key and ca.crt, in PEM; docs/cluster.md shows how they are made")
        };
        let certificates = |file: &Path| -> Result<Vec<CertificateDer<'static>>> {
            let read = CertificateDer::pem_file_iter(file).map_err(|e| wrong(file, &e))?;
            let all: std::result::Result<Vec<_>, _> = read.collect();
            all.map_err(|e| wrong(file, &e))
                .and_then(|all| if all.is_empty() { Err(wrong(file, &"it has no certificate")) } else { Ok(all) })
        };
        let (chain, secret) = (certificates(&cert)?, PrivateKeyDer::from_pem_file(&key).map_err(|e| wrong(&key, &e))?);
        let mut roots = RootCertStore::empty();
        for root in certificates(&ca)? {
            roots.add(root).map_err(|e| wrong(&ca, &e))?;
        }
        let roots = Arc::new(roots);
        let verifier = WebPkiClientVerifier::builder(Arc::clone(&roots)).build().map_err(|e| wrong(&ca, &e))?;
        let server = ServerConfig::builder().with_client_cert_verifier(verifier);
        let server = server.with_single_cert(chain.clone(), secret.clone_key()).map_err(|e| wrong(&cert, &e))?;
        let client = ClientConfig::builder().with_root_certificates(roots).with_client_auth_cert(chain, secret);
        let client = client.map_err(|e| wrong(&cert, &e))?;
        let (acceptor, connector) = (TlsAcceptor::from(Arc::new(server)), TlsConnector::from(Arc::new(client)));
        Ok(Self(Some(Arc::new(Keys { acceptor, connector, ends: Mutex::default() }))))
    }

    /// Where a connection to `host` and `port` is to be made: there, or at this end of TLS.
    ///
    /// # Errors
    /// `Unreachable` where no end can be laid.
    pub(super) fn way_to(&self, host: &str, port: u16) -> Result<String> {
        let to = format!("{host}:{port}");
        let Some(keys) = &self.0 else { return Ok(to) };
        let mut ends = keys.ends.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(known) = ends.get(&to) {
            return Ok(known.to_string());
        }
        let failed = |e: std::io::Error| Error::unreachable(format!("no port for TLS to {to}: {e}"));
        let listener = std::net::TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).map_err(failed)?;
        listener.set_nonblocking(true).map_err(failed)?;
        let listener = TcpListener::from_std(listener).map_err(failed)?;
        let near = listener.local_addr().map_err(failed)?;
        ends.insert(to.clone(), near);
        let connector = keys.connector.clone();
        tokio::spawn(async move {
            loop {
                let (stream, _) = accepted(&listener).await;
                tokio::spawn(outwards(stream, connector.clone(), to.clone()));
            }
        });
        Ok(near.to_string())
    }

    /// Takes connections at `listener` and hands what is in them to `inner`, until the guard goes. `None` without TLS.
    pub(super) fn front(&self, listener: TcpListener, inner: SocketAddr) -> Option<Front> {
        let acceptor = self.0.as_ref()?.acceptor.clone();
        let task = tokio::spawn(async move {
            loop {
                let (stream, from) = accepted(&listener).await;
                tokio::spawn(inwards(stream, from, acceptor.clone(), inner));
            }
        });
        Some(Front(task.abort_handle()))
    }

    /// Whether there is any.
    pub(super) fn is_set(&self) -> bool {
        self.0.is_some()
    }

    /// Shakes hands with `host` and `port` once, so that what is wrong can be told; nothing without TLS.
    ///
    /// # Errors
    /// `Unreachable` with the reason.
    pub(super) async fn try_out(&self, host: &str, port: u16) -> Result<()> {
        let Some(keys) = &self.0 else { return Ok(()) };
        let to = format!("{host}:{port}");
        shake(&keys.connector, &to).await.map(drop).map_err(|e| {
            Error::unreachable(format!("no TLS with {to}: {e}"))
                .with_help("all parts of the cluster need certificates of one authority (--tls, --cluster-tls), or none of them")
        })
    }
}

/// The next connection. An error ends nothing: of too many open files others close theirs.
async fn accepted(listener: &TcpListener) -> (TcpStream, SocketAddr) {
    loop {
        match listener.accept().await {
            Ok(one) => return one,
            Err(error) => {
                tracing::warn!("a connection cannot be taken: {error}");
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
        }
    }
}

/// Takes connections for as long as it lives.
#[derive(Debug)]
pub(super) struct Front(AbortHandle);

impl Drop for Front {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// An address of this machine at which Ballista listens behind a front at `front`.
pub(super) fn behind(front: IpAddr) -> Ipv4Addr {
    if front == IpAddr::V4(Ipv4Addr::LOCALHOST) { Ipv4Addr::new(127, 0, 0, 2) } else { Ipv4Addr::LOCALHOST }
}

async fn shake(connector: &TlsConnector, to: &str) -> std::io::Result<tokio_rustls::client::TlsStream<TcpStream>> {
    let connect = async {
        let stream = TcpStream::connect(to).await?;
        stream.set_nodelay(true)?;
        let name = ServerName::try_from(NAME).map_err(std::io::Error::other)?;
        connector.connect(name, stream).await
    };
    let late = |_| std::io::Error::new(std::io::ErrorKind::TimedOut, "no answer");
    tokio::time::timeout(HANDSHAKE, connect).await.map_err(late)?
}

async fn outwards(mut near: TcpStream, connector: TlsConnector, to: String) {
    // Who asked sees a closed connection, and asks again.
    match shake(&connector, &to).await {
        Ok(mut far) => drop(tokio::io::copy_bidirectional(&mut near, &mut far).await),
        Err(error) => tracing::warn!("no TLS with {to}: {error}"),
    }
}

async fn inwards(stream: TcpStream, from: SocketAddr, acceptor: TlsAcceptor, inner: SocketAddr) {
    let shaken = async {
        stream.set_nodelay(true)?;
        let far = acceptor.accept(stream).await?;
        let near = TcpStream::connect(inner).await?;
        near.set_nodelay(true)?;
        std::io::Result::Ok((far, near))
    };
    match tokio::time::timeout(HANDSHAKE, shaken).await {
        Ok(Ok((mut far, mut near))) => drop(tokio::io::copy_bidirectional(&mut far, &mut near).await),
        Ok(Err(error)) => tracing::debug!("no TLS with {from}: {error}"),
        Err(_) => tracing::debug!("no TLS with {from}: no answer"),
    }
}
