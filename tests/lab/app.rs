//! The app that the lab releases: the local cloud's own demo app, as a process of its own. `tests/lab/images` makes images of it.
//!
//! `APP_VERSION` names one of the demo app's versions, and with it how it behaves. It listens on port 8080. On SIGTERM it takes
//! no new connections, answers what is in flight, and ends; with `APP_LINGERS=SECONDS` it goes on as if nothing were for so
//! long before that.

#![expect(
    clippy::disallowed_methods,
    clippy::print_stdout,
    reason = "a process with an environment and a log of its own"
)]

use std::net::{Ipv4Addr, SocketAddr};
use std::process::ExitCode;
use std::time::Duration;

use seachange_local_cloud::app::{Process, log_lines, process};
use seachange_local_cloud::doors::App;
use seachange_local_cloud::images::Images;
use tokio::signal::unix::{SignalKind, signal};

const PORT: u16 = 8080;

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<ExitCode, Box<dyn std::error::Error>> {
    let mut terminate = signal(SignalKind::terminate())?;
    let version = std::env::var("APP_VERSION")?;
    let image = Images::default().find(&version).ok_or("there is no such version")?;
    let lines = |age| log_lines(image.version, image.behaviour, PORT, age);
    let said = lines(Duration::ZERO);
    for line in &said {
        println!("{line}");
    }
    if let Process::Starting { until } = process(image.behaviour, Duration::ZERO) {
        tokio::select! {
            () = tokio::time::sleep(until) => {}
            _ = terminate.recv() => return Ok(ExitCode::SUCCESS),
        }
        for line in &lines(until)[said.len()..] {
            println!("{line}");
        }
        if let Process::Exited { code, .. } = process(image.behaviour, until) {
            return Ok(ExitCode::from(u8::try_from(code)?));
        }
    }
    let app = App::open(SocketAddr::from((Ipv4Addr::UNSPECIFIED, PORT)), image.digest()).await?;
    terminate.recv().await;
    if let Ok(seconds) = std::env::var("APP_LINGERS") {
        tokio::time::sleep(Duration::from_secs(seconds.parse()?)).await;
    }
    println!("asked to stop: finishing open requests");
    app.finish().await;
    Ok(ExitCode::SUCCESS)
}
