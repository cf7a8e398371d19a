//! Shows a run's events: bars on a terminal, plain lines in CI, one JSON object a line with `--json`. A command that only
//! looks has one JSON document to give, so what it does meanwhile is told on stderr.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use indicatif::{MultiProgress, ProgressBar, ProgressStyle};
use seachange_core::event::{Event, Listener};
use seachange_report::event as wording;

use crate::output::Printer;

/// Listens to a run and shows it.
#[derive(Debug)]
pub(crate) struct Progress {
    printer: Printer,
    names: Mutex<wording::Names>,
    bars: Option<Bars>,
}

#[derive(Debug)]
struct Bars {
    screen: MultiProgress,
    running: Mutex<BTreeMap<usize, ProgressBar>>,
}

impl Progress {
    /// Bars if the printer is interactive, else lines.
    pub(crate) fn new(printer: Printer) -> Self {
        let bars = printer
            .interactive
            .then(|| Bars { screen: MultiProgress::new(), running: Mutex::new(BTreeMap::new()) });
        Self { printer, names: Mutex::default(), bars }
    }
}

impl Listener for Progress {
    fn event(&self, event: &Event) {
        if self.printer.stream {
            self.printer.out_json(&wording::json(event, jiff::Timestamp::now()));
            return;
        }
        let line = {
            let mut names = self.names.lock().unwrap_or_else(PoisonError::into_inner);
            names.learn(event);
            names.line(event)
        };
        let Some(bars) = &self.bars else {
            if let Some(line) = line {
                self.printer.talk(&line);
            }
            return;
        };
        bars.show(event, line.as_deref());
    }
}

impl Bars {
    fn show(&self, event: &Event, line: Option<&str>) {
        let mut running = self.running.lock().unwrap_or_else(PoisonError::into_inner);
        match event {
            Event::StepStarted { step, addresses, what } => {
                let style = ProgressStyle::with_template("  {spinner} {prefix}: {msg} [{elapsed}]")
                    .unwrap_or_else(|_| ProgressStyle::default_spinner());
                let bar = self.screen.add(ProgressBar::new_spinner()).with_style(style);
                let names: Vec<String> =
                    addresses.iter().take(3).map(ToString::to_string).collect();
                bar.set_prefix(names.join(", "));
                bar.set_message(what.clone());
                bar.enable_steady_tick(Duration::from_millis(120));
                running.insert(*step, bar);
            }
            Event::StepProgress { step, what } => {
                if let Some(bar) = running.get(step) {
                    bar.set_message(what.clone());
                }
            }
            Event::StepFinished { step, .. } | Event::StepFailed { step, .. } => {
                if let Some(bar) = running.remove(step) {
                    bar.finish_and_clear();
                }
                self.print(line);
            }
            Event::Pull { .. } | Event::Probe { .. } => {}
            Event::RefreshStarted
            | Event::RefreshFinished { .. }
            | Event::RunStarted { .. }
            | Event::StepSkipped { .. }
            | Event::Phase { .. }
            | Event::Switched { .. }
            | Event::Note { .. }
            | Event::Stopping => self.print(line),
        }
    }

    fn print(&self, line: Option<&str>) {
        if let Some(line) = line {
            let _: std::io::Result<()> = self.screen.println(line);
        }
    }
}
