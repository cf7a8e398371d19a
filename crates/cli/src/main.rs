//! The binary: parse, run, exit.

mod args;
mod checks;
mod commands;
mod env;
mod exit;
mod failure;
mod hint;
mod load;
mod output;
mod progress;
mod session;
mod source;
mod store;
mod work;
mod world;

use std::process::ExitCode;

use clap::Parser as _;

use crate::args::{Arguments, Command};
use crate::output::Printer;

fn main() -> ExitCode {
    let arguments = match Arguments::try_parse() {
        Ok(arguments) => arguments,
        Err(error) => {
            let _: std::io::Result<()> = error.print();
            return ExitCode::from(if error.use_stderr() { exit::ERROR } else { exit::FINE });
        }
    };
    let printer = Printer::new(&arguments);
    log();
    let code = run(&arguments.command, printer).unwrap_or_else(|failure| {
        if printer.json {
            printer.out_json(&failure.json());
        }
        printer.talk(&failure.text());
        exit::ERROR
    });
    ExitCode::from(code)
}

fn run(command: &Command, printer: Printer) -> failure::Result<u8> {
    use commands::{
        apply, completions, demo, drift, init, local, lock, logs, plan, releases, schema, show,
        state, status, validate,
    };
    match command {
        Command::Init(arguments) => init::run(arguments, printer),
        Command::Validate(arguments) => validate::run(arguments, printer),
        Command::Show(arguments) => show::run(arguments, printer),
        Command::Schema => Ok(schema::run(printer)),
        Command::Completions { shell } => Ok(completions::run(*shell, printer)),
        Command::Plan(arguments) => wait(plan::run(arguments, printer)),
        Command::Graph(arguments) => {
            let arguments = args::Plan { format: args::Format::Mermaid, ..arguments.clone() };
            wait(plan::run(&arguments, printer))
        }
        Command::Apply(arguments) => wait(apply::run(arguments, printer)),
        Command::Destroy(arguments) => wait(apply::destroy(arguments, printer)),
        Command::Rollback(arguments) => wait(apply::rollback(arguments, printer)),
        Command::Drift(arguments) => wait(drift::run(arguments, printer)),
        Command::Status(arguments) => wait(status::run(arguments, printer)),
        Command::Releases(arguments) => wait(releases::run(arguments, printer)),
        Command::Logs(arguments) => wait(logs::run(arguments, printer)),
        Command::State { command } => wait(state::run(command, printer)),
        Command::Lock { command } => wait(lock::run(command, printer)),
        Command::Unlock { auto_approve, spec } => wait(lock::unlock(spec, *auto_approve, printer)),
        Command::Local { command } => wait(local::run(command, printer)),
        Command::Demo(arguments) => wait(demo::run(arguments, printer)),
    }
}

/// Runs the asynchronous half. Commands that need none start no runtime.
fn wait(work: impl Future<Output = failure::Result<u8>>) -> failure::Result<u8> {
    use failure::Context as _;
    tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .context(|| "cannot start".to_owned())?
        .block_on(work)
}

/// Logs to stderr, if asked to.
fn log() {
    if let Some(filter) = env::get(env::LOG) {
        tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr).init();
    }
}
