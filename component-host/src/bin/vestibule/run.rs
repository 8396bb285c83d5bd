//! `vestibule run`: instantiates a component, and calls one of its exports.

use crate::failure::{Failure, chain};
use crate::input;
use crate::invoke::{self, Invocation};
use crate::order::{self, Order};
use bytesize::ByteSize;
use clap::Args;
use std::fmt::Write as _;
use std::io::Write;
use std::path::PathBuf;
use vestibule_component_host::{
    Component, Config, Engine, Error, ErrorKind, Instance, Linker, Store, Trap,
};
use vestibule_executor::Choices;

/// Instantiates a component, and calls one of its exports.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  vestibule run plugin.wasm
  vestibule run --invoke 'add(1, 2)' adder.wat
  vestibule run --invoke 'demo:init/api@0.1.0#greet(\"you\")' plugin.wasm
  vestibule run --fuel 1000000 --max-memory 64MiB --timeout 500ms plugin.wasm
  cat plugin.wat | vestibule run -")]
pub(crate) struct RunArgs {
    /// The function to call, and its arguments in WAVE: `[interface#]name(args)`. Without it the
    /// component is instantiated, and its exported functions are listed.
    #[arg(long, value_name = "CALL")]
    invoke: Option<Invocation>,

    /// Lets a component with imports instantiate: each import is a stub that traps with its name
    /// when it is called.
    #[arg(long)]
    stub_imports: bool,

    /// The units of fuel, about one instruction each, for the instantiation and for the call.
    /// Without it, 1,000,000,000, or no limit when there is a timeout.
    #[arg(long, value_name = "N")]
    fuel: Option<u64>,

    /// The memory that all linear memories may have together: bytes, or as in 64MiB, 1GiB.
    /// Without it, 1GiB.
    #[arg(long, value_name = "BYTES")]
    max_memory: Option<ByteSize>,

    /// The time that the instantiation may take, and the call: as in 500ms, 2s, 1m.
    #[arg(long, value_name = "DURATION")]
    timeout: Option<humantime::Duration>,

    #[command(flatten)]
    order: Order,

    /// The component, as .wasm or .wat; `-` is stdin.
    file: PathBuf,
}

pub(crate) fn run(args: &RunArgs, out: &mut impl Write) -> Result<(), Failure> {
    let choices = args.order.choices();
    run_ordered(args, choices.as_ref(), out).map_err(|failure| match (failure, choices) {
        (Failure::Error(text), Some(choices)) => Failure::Error(format!(
            "{text}\n    {}",
            args.order.how_to_replay(&choices)
        )),
        (failure, _) => failure,
    })
}

fn run_ordered(
    args: &RunArgs,
    choices: Option<&Choices>,
    out: &mut impl Write,
) -> Result<(), Failure> {
    let bytes = input::read(&args.file)?;
    let engine = Engine::new(config(args)?);
    let component = Component::new(&engine, &bytes)?;
    let executor = order::executor(choices, order::Log::default());
    let store = Store::new(&engine, &executor, ());
    let mut linker = Linker::new();
    if args.stub_imports {
        linker.define_unknown_imports_as_traps();
    }
    let instance = linker.instantiate(&store, &component).map_err(|error| {
        let text = with_hint(&error, args);
        Failure::Error(with_snapshot(text, &error, &store))
    })?;
    match &args.invoke {
        Some(invocation) => {
            let result = invoke::invoke(&store, &instance, invocation);
            let result = result.map_err(|failure| match failure {
                invoke::InvokeError::Call(error) => {
                    Failure::Error(with_snapshot(chain(&error), &error, &store))
                }
                invoke::InvokeError::Other(failure) => failure,
            });
            warn_of_background_errors(&store);
            match result? {
                Some(value) => writeln!(out, "{value}")?,
                None => writeln!(out, "()")?,
            }
        }
        None => {
            warn_of_background_errors(&store);
            out.write_all(list(args, &store, &instance)?.as_bytes())?;
        }
    }
    Ok(())
}

fn config(args: &RunArgs) -> Result<Config, Failure> {
    let mut config = Config::new();
    if let Ok(limit) = usize::try_from(input::MAX_INPUT) {
        config = config.max_component_size(limit);
    }
    if let Some(timeout) = args.timeout {
        // Whoever asks for a time means the time: the default fuel lasts for some seconds only.
        config = config.timeout(*timeout).fuel(u64::MAX);
    }
    if let Some(fuel) = args.fuel {
        config = config.fuel(fuel);
    }
    if let Some(memory) = args.max_memory {
        let bytes = usize::try_from(memory.as_u64()).map_err(|_| {
            Failure::Usage(format!(
                "--max-memory {memory} is more than this machine can address"
            ))
        })?;
        config = config.max_memory(bytes);
    }
    Ok(config)
}

fn with_hint(error: &Error, args: &RunArgs) -> String {
    let mut text = chain(error);
    let missing =
        matches!(error.kind(), ErrorKind::Link(text) if text.starts_with("missing import"));
    if missing && !args.stub_imports {
        text.push_str(
            "\n    hint: `--stub-imports` binds every import to a stub that traps when it is called",
        );
    }
    text
}

/// A run that is stuck, or out of time: who waited for whom.
fn with_snapshot(mut text: String, error: &Error, store: &Store<()>) -> String {
    let snapshot = match error.kind() {
        ErrorKind::Trap(Trap::Deadlock { .. }) => store.snapshot().ok(),
        _ => store.last_failure().ok().flatten(),
    };
    if let Some(snapshot) = snapshot {
        let _ = write!(text, "\n{}", snapshot.to_string().trim_end());
    }
    text
}

/// Guest threads may fail after the call that started them has returned: that is worth a word,
/// and does not change the result.
fn warn_of_background_errors(store: &Store<()>) {
    for error in store.take_background_errors() {
        let text = format!("warning: a guest thread failed: {}\n", chain(&error));
        let _ = std::io::stderr().write_all(text.as_bytes());
    }
}

fn list(args: &RunArgs, store: &Store<()>, instance: &Instance) -> Result<String, Failure> {
    let names = instance.func_names();
    let functions = if names.len() == 1 {
        "function"
    } else {
        "functions"
    };
    let mut text = format!(
        "instantiated {}: {} exported {functions}\n",
        input::name(&args.file),
        names.len()
    );
    for name in names {
        let func = instance.get_func(store, &name)?;
        let _ = writeln!(text, "  {name}: {}", func.ty());
    }
    Ok(text)
}
