//! A wire between two processes that can be cut: bytes get lost, and neither end is told.

use std::net::{SocketAddr, TcpListener as Listener};

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{
        TcpListener, TcpStream,
        tcp::{OwnedReadHalf, OwnedWriteHalf},
    },
    runtime::Runtime,
    sync::watch,
};

/// A wire that listens at one address and leads to another. Dropping it ends it.
#[derive(Debug)]
pub struct Wire {
    runtime: Option<Runtime>,
    cut: watch::Sender<bool>,
    address: SocketAddr,
}

impl Wire {
    /// From `at` (port 0: any free one) to `to`.
    pub fn lay(at: (&str, u16), to: SocketAddr) -> Self {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
        let listener = Listener::bind(at).unwrap();
        listener.set_nonblocking(true).unwrap();
        let address = listener.local_addr().unwrap();
        let (cut, is_cut) = watch::channel(false);
        runtime.spawn(async move {
            let listener = TcpListener::from_std(listener).unwrap();
            while let Ok((stream, _)) = listener.accept().await {
                tokio::spawn(carry(stream, to, is_cut.clone()));
            }
        });
        Self { runtime: Some(runtime), cut, address }
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Cuts it: new connections are taken and lead nowhere, old ones stand still.
    pub fn cut(&self) {
        self.cut.send_replace(true);
    }

    /// Mends it: connections that met the cut are closed, new ones work.
    pub fn mend(&self) {
        self.cut.send_replace(false);
    }
}

impl Drop for Wire {
    fn drop(&mut self) {
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}

async fn carry(near: TcpStream, to: SocketAddr, mut cut: watch::Receiver<bool>) {
    if *cut.borrow_and_update() {
        // Until it is mended; then the connection goes.
        let _ = cut.changed().await;
        return;
    }
    let Ok(far) = TcpStream::connect(to).await else { return };
    let _ = (near.set_nodelay(true), far.set_nodelay(true));
    let (near, far) = (near.into_split(), far.into_split());
    tokio::join!(pump(near.0, far.1, cut.clone()), pump(far.0, near.1, cut));
}

async fn pump(mut from: OwnedReadHalf, mut to: OwnedWriteHalf, mut cut: watch::Receiver<bool>) {
    let mut bytes = vec![0; 64 << 10];
    loop {
        let read = tokio::select! {
            biased;
            _ = cut.wait_for(|cut| *cut) => None,
            read = from.read(&mut bytes) => Some(read),
        };
        match read {
            Some(Ok(count)) if count > 0 && to.write_all(&bytes[..count]).await.is_ok() => {}
            Some(_) => return,
            None => {
                let _ = cut.wait_for(|cut| !*cut).await;
                return;
            }
        }
    }
}
