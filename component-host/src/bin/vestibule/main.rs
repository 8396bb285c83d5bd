//! The command line of the host: run a component, run the official test scripts, look inside.
#![forbid(unsafe_code)]

mod catch;
mod failure;
mod input;
mod inspect;
mod invoke;
mod order;
mod outline;
mod report;
mod run;
mod script;
mod values;
mod wast;

use clap::{Parser, Subcommand};
use failure::Failure;
use std::io::{self, Write};
use std::process::ExitCode;

/// Runs, tests and inspects WebAssembly components.
///
/// Exit codes: 0 for success, 1 for a trap or an error, 2 for bad usage.
#[derive(Debug, Parser)]
#[command(name = "vestibule", version, after_help = EXAMPLES)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

const EXAMPLES: &str = "\
Examples:
  vestibule run --invoke 'add(1, 2)' adder.wasm
  vestibule run --invoke 'demo:init/api@0.1.0#value' plugin.wat
  vestibule run --stub-imports --timeout 2s plugin.wasm
  vestibule wast tests/async tests/values/strings.wast
  vestibule inspect plugin.wasm";

#[derive(Debug, Subcommand)]
enum Command {
    Run(run::RunArgs),
    Wast(wast::WastArgs),
    Inspect(inspect::InspectArgs),
}

fn main() -> ExitCode {
    catch::install();
    // `parse` prints and exits by itself, with 2 for bad usage and 0 for help.
    let cli = Cli::parse();
    let ended = catch::catch(|| execute(&cli.command)).unwrap_or_else(|panic| {
        Err(Failure::Error(format!(
            "internal error, please report it: {panic}"
        )))
    });
    match ended {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => failure.report(),
    }
}

fn execute(command: &Command) -> Result<(), Failure> {
    let mut out = io::stdout().lock();
    match command {
        Command::Run(args) => run::run(args, &mut out),
        Command::Wast(args) => wast::wast(args, &mut out),
        Command::Inspect(args) => inspect::inspect(args, &mut out),
    }?;
    out.flush()?;
    Ok(())
}

#[cfg(test)]
mod tests {
    #[test]
    fn the_declared_arguments_are_consistent() {
        <super::Cli as clap::CommandFactory>::command().debug_assert();
    }
}
