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
    std::panic::set_hook(Box::new(end_of_a_bug));
    let arguments = match Arguments::try_parse() {
        Ok(arguments) => arguments,
        Err(error) => {
            let _: std::io::Result<()> = error.print();
            return ExitCode::from(if error.use_stderr() { exit::ERROR } else { exit::FINE });
        }
    };
    let printer = Printer::new(&arguments);
    let ran = log().and_then(|()| run(&arguments.command, printer));
    let code = ran.unwrap_or_else(|failure| {
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

/// A panic on any thread ends the process: what goes on beside a broken part is nothing anybody has thought through.
/// The log is as durable as after a kill -9.
#[expect(
    clippy::exit,
    clippy::disallowed_methods,
    reason = "exit codes are a contract, for bugs too"
)]
fn end_of_a_bug(panic: &std::panic::PanicHookInfo<'_>) {
    use std::io::Write as _;
    let _: std::io::Result<()> = writeln!(
        std::io::stderr(),
        "error: a bug in seachange {}: {panic}\nhelp: what was done is in the state; the next run goes on from there",
        env!("CARGO_PKG_VERSION")
    );
    std::process::exit(exit::ERROR.into());
}

/// Logs to stderr, if asked to.
fn log() -> failure::Result<()> {
    use failure::Context as _;
    use tracing_subscriber::Layer as _;
    use tracing_subscriber::filter::Targets;
    use tracing_subscriber::layer::SubscriberExt as _;
    use tracing_subscriber::util::SubscriberInitExt as _;
    let Some(filter) = env::get(env::LOG) else { return Ok(()) };
    let targets: Targets =
        filter.parse().context(|| format!("{} is no filter: `{filter}`", env::LOG)).map_err(
            |failure| failure.help("write it as in `info` or `seachange_engine=debug,warn`"),
        )?;
    let stderr = tracing_subscriber::fmt::layer().with_writer(std::io::stderr);
    tracing_subscriber::registry().with(stderr.with_filter(targets)).init();
    Ok(())
}
