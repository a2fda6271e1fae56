//! Signals. The first SIGINT or SIGTERM asks a run to stop where it can be resumed; the second ends the process at once.

use std::io;

use planner::{Error, ErrorKind};
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio_util::sync::CancellationToken;

use crate::exit::ExitStatus;
use crate::output::progress::Screen;
use crate::output::text;

/// A token that the first signal cancels. A run that was asked to stop finishes what is in flight and writes its report.
pub(crate) fn token(screen: Screen) -> Result<CancellationToken, Error> {
    let mut signals = Signals::new().map_err(no_signals)?;
    let token = CancellationToken::new();
    let stop = token.clone();
    tokio::spawn(async move {
        signals.next().await;
        stop.cancel();
        let _ = screen.write(|mut out| text::note(&mut out, "stopping after what is in flight; once more to stop at once"));
        signals.next().await;
        leave();
    });
    Ok(token)
}

/// Waits for a signal: for commands that have nothing to bring to an end.
pub(crate) async fn signalled() -> Error {
    match Signals::new() {
        Ok(mut signals) => {
            signals.next().await;
            Error::new(ErrorKind::Interrupted, "interrupted")
        }
        Err(error) => no_signals(error),
    }
}

fn no_signals(error: io::Error) -> Error {
    Error::bug("cannot listen for signals").with_source(error)
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
