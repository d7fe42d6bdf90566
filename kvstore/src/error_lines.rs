//! How many errors this process has written to its log: each is a fact that an operator must see.

use std::sync::atomic::{AtomicU64, Ordering};

use tracing::{Event, Subscriber};
use tracing_subscriber::Layer;
use tracing_subscriber::filter::{Filtered, LevelFilter};
use tracing_subscriber::layer::Context;
use tracing_subscriber::registry::LookupSpan;

/// Lines so far, whatever of them is shown.
static LINES: AtomicU64 = AtomicU64::new(0);

/// How many there were. None is counted before [`ErrorLines`] is a part of the log.
pub(crate) fn count() -> u64 {
    LINES.load(Ordering::Relaxed)
}

/// Counts them.
pub(crate) struct ErrorLines;

impl ErrorLines {
    /// Looks at errors only: what is of no interest to any part of the log is not even made.
    pub(crate) fn layer<S: Subscriber + for<'a> LookupSpan<'a>>() -> Filtered<ErrorLines, LevelFilter, S> {
        ErrorLines.with_filter(LevelFilter::ERROR)
    }
}

impl<S: Subscriber> Layer<S> for ErrorLines {
    fn on_event(&self, _: &Event<'_>, _: Context<'_, S>) {
        LINES.fetch_add(1, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use tracing_subscriber::layer::SubscriberExt;

    use super::*;

    #[test]
    fn an_error_counts_though_it_is_not_shown() {
        let shown = tracing_subscriber::fmt::layer().with_filter(LevelFilter::OFF);
        let log = tracing_subscriber::registry().with(shown).with(ErrorLines::layer());
        let before = count();
        tracing::subscriber::with_default(log, || {
            tracing::error!("one");
            tracing::warn!("of no concern");
            assert!(!tracing::enabled!(tracing::Level::WARN), "nobody wants it");
        });
        assert_eq!(count(), before + 1);
    }
}
