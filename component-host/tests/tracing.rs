//! What reaches a `tracing` subscriber.

#![cfg(feature = "tracing")]

mod common;

use common::{CALLS_F, Host};
use std::fmt::Write as _;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use tracing::field::{Field, Visit};
use tracing::span::{Attributes, Id, Record};
use tracing::{Event, Metadata, Subscriber};
use vestibule_component_host::{Caller, Error, Linker, TracingObserver};

/// Writes down spans and events, indented by the spans that are entered.
#[derive(Clone, Default)]
struct Writes {
    lines: Arc<Mutex<Vec<String>>>,
    depth: Arc<AtomicU64>,
    spans: Arc<Mutex<Vec<String>>>,
}

struct Fields(String);

impl Visit for Fields {
    fn record_debug(&mut self, field: &Field, value: &dyn std::fmt::Debug) {
        let value = format!("{value:?}");
        let first = value.lines().next().unwrap_or_default().to_owned();
        let _ = write!(self.0, " {field}={first}");
    }
}

impl Writes {
    fn line(&self, text: String) {
        let depth = self.depth.load(Ordering::Relaxed) as usize;
        let line = format!("{}{text}", "  ".repeat(depth));
        self.lines.lock().unwrap().push(line);
    }
}

impl Subscriber for Writes {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        metadata.target().starts_with("vestibule_component_host")
    }

    fn new_span(&self, span: &Attributes<'_>) -> Id {
        let mut fields = Fields(span.metadata().name().to_owned());
        span.record(&mut fields);
        let mut spans = self.spans.lock().unwrap();
        spans.push(fields.0);
        Id::from_u64(spans.len() as u64)
    }

    fn record(&self, _: &Id, _: &Record<'_>) {}

    fn record_follows_from(&self, _: &Id, _: &Id) {}

    fn event(&self, event: &Event<'_>) {
        let mut fields = Fields(event.metadata().level().to_string());
        event.record(&mut fields);
        self.line(fields.0);
    }

    fn enter(&self, id: &Id) {
        let name = self.spans.lock().unwrap()[id.into_u64() as usize - 1].clone();
        self.line(name);
        self.depth.fetch_add(1, Ordering::Relaxed);
    }

    fn exit(&self, _: &Id) {
        self.depth.fetch_sub(1, Ordering::Relaxed);
    }
}

#[test]
fn calls_are_spans_inside_one_another_and_failures_are_events() {
    let writes = Writes::default();
    let subscriber = writes.clone();
    tracing::subscriber::with_default(subscriber, || {
        let host = Host::new();
        let store = host.store(());
        store.observe(TracingObserver::new()).unwrap();
        let mut linker = Linker::new();
        linker
            .root()
            .func(
                "f",
                |_: Caller<'_, ()>, (_x,): (u32,)| -> Result<(u32,), Error> {
                    Err(Error::host("no"))
                },
            )
            .unwrap();
        let _error = linker
            .instantiate(&store, &host.component(CALLS_F))
            .unwrap_err();
    });
    let lines = writes.lines.lock().unwrap();
    assert_eq!(
        *lines,
        [
            "DEBUG message=instantiating component=\"calls-f\"",
            "guest component=component `calls-f` function=\"start\"",
            "  host component=component `calls-f` import=\"f\" first_call=true",
            "WARN message=failed error=host function failed: no",
            "WARN message=locked down component=component `calls-f`",
            "WARN message=not instantiated component=\"calls-f\" error=host function failed: no",
        ]
    );
}
