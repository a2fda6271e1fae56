//! Signals. The first SIGINT or SIGTERM asks a run to stop where it can be resumed; the second ends the process at once.
//!
//! They are waited for by a thread of their own: the process ends at once also while all other threads are busy, or wait for a
//! disk that does not answer.

use std::io;
use std::thread;

use planner::{Error, ErrorKind};
use tokio::runtime::{Builder, Runtime};
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::oneshot;
use tokio_util::sync::CancellationToken;

use crate::exit::ExitStatus;
use crate::output::progress::Screen;
use crate::output::text;

/// A token that the first signal cancels. A run that was asked to stop finishes what is in flight and writes its report.
pub(crate) fn token(screen: Screen) -> Result<CancellationToken, Error> {
    let token = CancellationToken::new();
    let stop = token.clone();
    on_signal(move || {
        stop.cancel();
        let said = "stopping after what is in flight; once more to stop at once";
        // A terminal that stands still must not hold up the second signal.
        thread::spawn(move || drop(screen.write(|mut out| text::note(&mut out, said))));
    })?;
    Ok(token)
}

/// Waits for a signal: for commands that have nothing to bring to an end.
pub(crate) async fn signalled() -> Error {
    let (send, receive) = oneshot::channel();
    let listening = on_signal(move || {
        let _ = send.send(());
    });
    match listening {
        Ok(()) => {
            let _ = receive.await;
            Error::new(ErrorKind::Interrupted, "interrupted")
        }
        Err(error) => error,
    }
}

/// Does `first` at the first signal from now on, and ends the process at the second.
fn on_signal(first: impl FnOnce() + Send + 'static) -> Result<(), Error> {
    let failed = |error: io::Error| Error::bug("cannot listen for signals").with_source(error);
    let runtime = Builder::new_current_thread().enable_all().build().map_err(failed)?;
    // From this moment on, before the thread has begun.
    let signals = {
        let _within = runtime.enter();
        Signals::new()
    };
    let signals = signals.map_err(failed)?;
    let listen = move || listen(&runtime, signals, first);
    thread::Builder::new().name("signals".to_owned()).spawn(listen).map(drop).map_err(failed)
}

fn listen(runtime: &Runtime, mut signals: Signals, first: impl FnOnce()) {
    runtime.block_on(async {
        signals.next().await;
        first();
        signals.next().await;
        leave();
    });
}

#[expect(clippy::exit, reason = "a second signal means: at once, whatever is in flight")]
fn leave() -> ! {
    std::process::exit(ExitStatus::Interrupted.code().into())
}

struct Signals {
    interrupt: Signal,
    terminate: Signal,
}

impl Signals {
    fn new() -> io::Result<Self> {
        Ok(Self { interrupt: signal(SignalKind::interrupt())?, terminate: signal(SignalKind::terminate())? })
    }

    async fn next(&mut self) {
        tokio::select! {
            _ = self.interrupt.recv() => {}
            _ = self.terminate.recv() => {}
        }
    }
}
