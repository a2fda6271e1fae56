//! Logs on stderr: warnings and errors unless asked for more.

use std::io;

use tracing_subscriber::EnvFilter;
use tracing_subscriber::filter::{LevelFilter, filter_fn};
use tracing_subscriber::fmt::MakeWriter;
use tracing_subscriber::layer::SubscriberExt as _;
use tracing_subscriber::util::SubscriberInitExt as _;

use crate::args::{GlobalArgs, LogFormat};
use crate::output::progress::Screen;

/// Our own crates, as log targets.
const OURS: [&str; 5] = ["millrace", "engine", "worker", "planner", "graveler"];

/// Variables that say what is logged, in the syntax of `RUST_LOG`; the first that is set counts, before `-v` and `-q`.
const VARIABLES: [&str; 2] = ["MILLRACE_LOG", "RUST_LOG"];

/// Starts logging. Said twice, the first stays.
pub(crate) fn start(global: &GlobalArgs, screen: Screen) {
    let given = VARIABLES.iter().find_map(|name| std::env::var(name).ok().filter(|v| !v.is_empty()));
    let filter = EnvFilter::builder().parse_lossy(given.unwrap_or_else(|| directives(global)));
    // Whatever is asked for, signed requests with their headers stay out.
    let no_headers =
        filter_fn(|meta| !(meta.target().starts_with("aws_") && LevelFilter::from_level(*meta.level()) == LevelFilter::TRACE));
    let registry = tracing_subscriber::registry().with(filter).with(no_headers);
    let layer = tracing_subscriber::fmt::layer().with_writer(ScreenWriter(screen));
    let _ = match global.log_format {
        LogFormat::Text => registry.with(layer.with_ansi(false).with_target(false)).try_init(),
        LogFormat::Json => registry.with(layer.json()).try_init(),
    };
}

/// What is logged without a variable: others are a level quieter than we are, and the query engine is not heard at all
/// unless everything is.
fn directives(global: &GlobalArgs) -> String {
    let (ours, others, engine) = match (global.quiet, global.verbose) {
        (true, _) => ("error", "off", "off"),
        (_, 0) => ("warn", "error", "off"),
        (_, 1) => ("info", "warn", "error"),
        (_, 2) => ("debug", "info", "warn"),
        _ => ("trace", "debug", "debug"),
    };
    let ours = OURS.map(|target| format!("{target}={ours}")).join(",");
    format!("{others},datafusion={engine},datafusion_physical_plan={engine},{ours}")
}

/// Log lines go where bars and notes go.
#[derive(Debug, Clone)]
struct ScreenWriter(Screen);

impl io::Write for ScreenWriter {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        self.0.write(|out| out.write_all(line))?;
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl MakeWriter<'_> for ScreenWriter {
    type Writer = Self;

    fn make_writer(&self) -> Self {
        self.clone()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn more_v_say_more_and_all_directives_are_good() {
        for verbose in 0..4 {
            let text = directives(&GlobalArgs { verbose, ..GlobalArgs::default() });
            assert!(EnvFilter::builder().parse(&text).is_ok(), "{text}");
        }
        assert!(directives(&GlobalArgs::default()).contains("engine=warn"));
        assert!(directives(&GlobalArgs { verbose: 2, ..GlobalArgs::default() }).contains("planner=debug"));
        assert!(directives(&GlobalArgs { quiet: true, ..GlobalArgs::default() }).starts_with("off"));
    }
}
