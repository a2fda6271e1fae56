//! TLS before a server: what comes in is decrypted and handed on. Its certificate is for `localhost` alone, by an authority that
//! no system knows ([`authority`]).

use std::{net::SocketAddr, path::PathBuf, sync::Arc};

use rustls::{
    ServerConfig,
    crypto::aws_lc_rs,
    pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject},
};
use tokio::{
    io::copy_bidirectional,
    net::{TcpListener, TcpStream},
    runtime::Runtime,
};
use tokio_rustls::TlsAcceptor;

use crate::data_dir;

/// The PEM file of the authority that signed the certificate.
pub fn authority() -> PathBuf {
    data_dir().join("tls/server/ca.crt")
}

/// TLS before a server, until it is dropped.
#[derive(Debug)]
pub struct TlsFront {
    runtime: Option<Runtime>,
    port: u16,
}

impl TlsFront {
    /// Before the server at `endpoint`, `http://ADDRESS:PORT`.
    pub fn of(endpoint: &str) -> Self {
        let to: SocketAddr = endpoint.strip_prefix("http://").unwrap().parse().unwrap();
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        listener.set_nonblocking(true).unwrap();
        let port = listener.local_addr().unwrap().port();
        let acceptor = acceptor();
        runtime.spawn(async move {
            let listener = TcpListener::from_std(listener).unwrap();
            while let Ok((stream, _)) = listener.accept().await {
                let acceptor = acceptor.clone();
                tokio::spawn(async move {
                    // A client that does not trust the certificate goes away here.
                    let Ok(mut inside) = acceptor.accept(stream).await else { return };
                    if let Ok(mut server) = TcpStream::connect(to).await {
                        let _ = copy_bidirectional(&mut inside, &mut server).await;
                    }
                });
            }
        });
        Self { runtime: Some(runtime), port }
    }

    /// The server behind TLS, by this name of the machine: `localhost` is the certificate's.
    pub fn endpoint(&self, name: &str) -> String {
        format!("https://{name}:{}", self.port)
    }
}

impl Drop for TlsFront {
    fn drop(&mut self) {
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}

fn acceptor() -> TlsAcceptor {
    let folder = data_dir().join("tls/server");
    let chain = CertificateDer::pem_file_iter(folder.join("tls.crt")).unwrap().map(Result::unwrap).collect();
    let key = PrivateKeyDer::from_pem_file(folder.join("tls.key")).unwrap();
    let config = ServerConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()));
    let config = config.with_safe_default_protocol_versions().unwrap().with_no_client_auth();
    TlsAcceptor::from(Arc::new(config.with_single_cert(chain, key).unwrap()))
}
