//! Shows a run's events: bars on a terminal, plain lines in CI, one JSON object a line with `--json`. A command that only
//! looks has one JSON document to give, so what it does meanwhile is told on stderr.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use indicatif::{MultiProgress, ProgressBar, ProgressStyle};
use seachange_core::address::Address;
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
    running: Mutex<BTreeMap<usize, Bar>>,
}

/// What is shown of a step under way.
#[derive(Debug)]
struct Bar {
    about: Vec<Address>,
    /// What it does; what is seen meanwhile is shown behind it.
    doing: String,
    shown: ProgressBar,
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
                running.insert(*step, self.bar(addresses, what));
            }
            Event::StepProgress { step, what } => {
                if let Some(bar) = running.get_mut(step) {
                    bar.doing.clone_from(what);
                    bar.shown.set_message(what.clone());
                }
            }
            Event::StepFinished { step, .. } | Event::StepFailed { step, .. } => {
                if let Some(bar) = running.remove(step) {
                    bar.shown.finish_and_clear();
                }
                self.print(line);
            }
            Event::Probe { worker, seen, in_a_row, needed } => {
                let seen = match worker {
                    Some(_) => format!("{seen} ({in_a_row} of {needed})"),
                    None => seen.clone(),
                };
                meanwhile(&running, *worker, &seen);
            }
            Event::Pull { worker, bytes, total, .. } => {
                let mega = |bytes: u64| format!("{:.1}", bytes as f64 / 1e6);
                let of = total.map(|total| format!(" of {}", mega(total))).unwrap_or_default();
                meanwhile(&running, Some(*worker), &format!("pulled {}{of} MB", mega(*bytes)));
            }
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

    fn bar(&self, about: &[Address], doing: &str) -> Bar {
        let style = ProgressStyle::with_template("  {spinner} {elapsed:>4} {prefix}: {wide_msg}")
            .unwrap_or_else(|_| ProgressStyle::default_spinner());
        let names: Vec<String> = about.iter().take(3).map(ToString::to_string).collect();
        let more = if about.len() > 3 { ", …" } else { "" };
        let shown = self.screen.add(ProgressBar::new_spinner()).with_style(style);
        shown.set_prefix(names.join(", ") + more);
        shown.set_message(doing.to_owned());
        shown.enable_steady_tick(Duration::from_millis(120));
        Bar { about: about.to_vec(), doing: doing.to_owned(), shown }
    }

    fn print(&self, line: Option<&str>) {
        if let Some(line) = line {
            let _: std::io::Result<()> = self.screen.println(line);
        }
    }
}

/// Shows what is seen while a step does what it does: the worker's own step, else the release.
fn meanwhile(running: &BTreeMap<usize, Bar>, worker: Option<u32>, seen: &str) {
    let about = |address: &Address| running.values().find(|bar| bar.about.contains(address));
    let own = worker.and_then(|worker| about(&Address::Worker(worker)));
    if let Some(Bar { doing, shown, .. }) = own.or_else(|| about(&Address::Release)) {
        shown.set_message(format!("{doing}: {seen}"));
    }
}
