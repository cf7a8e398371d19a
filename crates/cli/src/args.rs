//! What can be typed: clap types only. Doc comments are the help text.

use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, Parser, Subcommand, ValueEnum};
use jiff::SignedDuration;
use seachange_core::address::Address;
use seachange_core::plan::Purpose;
use seachange_engine::store::Locking;

use crate::source::Need;

/// Terraform for one thing, done completely: an app on DigitalOcean droplets, released without downtime.
#[derive(Debug, Parser)]
#[command(name = "seachange", version, max_term_width = 100, disable_help_subcommand = true)]
#[command(
    after_help = "Try it without an account:\n  seachange demo\n\nExit codes: 0 fine, 1 error or refusal, \
                        2 changes or drift (drift always, plan with --detailed-exitcode)."
)]
pub(crate) struct Arguments {
    /// What to do.
    #[command(subcommand)]
    pub(crate) command: Command,
    /// No colour (also: NO_COLOR set to anything).
    #[arg(long, global = true)]
    pub(crate) no_color: bool,
    /// Data as JSON on stdout, one object a line while something runs.
    #[arg(long, global = true)]
    pub(crate) json: bool,
}

/// The commands.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Write a commented starter spec and CI files into this folder.
    Init(Init),
    /// Check a spec: no network, no credentials.
    Validate(SpecArguments),
    /// Show what apply would do, and why. Changes nothing.
    Plan(Plan),
    /// Make the world what the spec says.
    Apply(Apply),
    /// Remove everything the stack owns.
    Destroy(Destroy),
    /// Show a saved plan.
    Show(Show),
    /// Say what moved outside, in the cloud and on the hosts. Exit code 2 if anything did.
    Drift(Target),
    /// Say which worker is live, with what, and whether a rollback would work.
    Status(Target),
    /// Make the standby's release live again: no registry, a handful of requests.
    Rollback(Rollback),
    /// List the releases, newest first.
    Releases(Target),
    /// Show the last lines the app wrote.
    Logs(Logs),
    /// Look at the state, its history, and edit it by hand.
    State {
        /// What to do with it.
        #[command(subcommand)]
        command: StateCommand,
    },
    /// See who holds the state's lock, take it on a person's word, and give it back.
    Lock {
        /// What to do with it.
        #[command(subcommand)]
        command: LockCommand,
    },
    /// End somebody's lock on a person's word. Shows who holds it and whether they live.
    Unlock {
        /// Do not ask.
        #[arg(long)]
        auto_approve: bool,
        /// Of which stack.
        #[command(flatten)]
        spec: SpecArguments,
    },
    /// Draw the steps of a plan as a mermaid graph.
    Graph(Plan),
    /// Print the spec's JSON Schema.
    Schema,
    /// Print shell completions.
    Completions {
        /// For which shell.
        shell: clap_complete::Shell,
    },
    /// The DigitalOcean on this machine.
    Local {
        /// What to do with it.
        #[command(subcommand)]
        command: LocalCommand,
    },
    /// See a whole release with a swap and a rollback on this machine, in under a minute.
    Demo(Demo),
}

/// Which spec, and its variables.
#[derive(Debug, Clone, Args)]
pub(crate) struct SpecArguments {
    /// The spec. Without it: seachange.yaml, else the spec last applied in this folder.
    #[arg(short, long, value_name = "FILE")]
    pub(crate) file: Option<PathBuf>,
    /// A variable for ${var:NAME} and ${env:NAME}; goes before the environment.
    #[arg(long = "var", value_name = "NAME=VALUE")]
    pub(crate) vars: Vec<String>,
    /// Use the DigitalOcean on this machine, kept in .seachange/local/: no account needed.
    #[arg(long)]
    pub(crate) local: bool,
}

/// A command about a stack that has been applied.
#[derive(Debug, Clone, Args)]
#[command(after_help = "Example:\n  seachange status -f specs/webgui.yaml")]
pub(crate) struct Target {
    /// Which spec.
    #[command(flatten)]
    pub(crate) spec: SpecArguments,
}

/// Options of `plan`.
#[derive(Debug, Clone, Args)]
#[command(
    after_help = "Example:\n  seachange plan -f specs/webgui.yaml --var VERSION=1.1 --out release.plan"
)]
pub(crate) struct Plan {
    /// Which spec.
    #[command(flatten)]
    pub(crate) spec: SpecArguments,
    /// What it may do.
    #[command(flatten)]
    pub(crate) options: PlanOptions,
    /// Save the plan, to be applied exactly as shown. It holds no secret.
    #[arg(long, value_name = "FILE")]
    pub(crate) out: Option<PathBuf>,
    /// Exit with 2 if there is anything to do.
    #[arg(long)]
    pub(crate) detailed_exitcode: bool,
    /// How to show it.
    #[arg(long, value_enum, default_value_t)]
    pub(crate) format: Format,
    /// Plan the removal of everything the stack owns.
    #[arg(long, conflicts_with = "abort")]
    pub(crate) destroy: bool,
}

/// How a plan is shown.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, ValueEnum)]
pub(crate) enum Format {
    /// For a terminal.
    #[default]
    Text,
    /// For a merge request.
    Markdown,
    /// The counts of GitLab's merge request widget.
    Gitlab,
    /// A graph of the steps.
    Mermaid,
}

/// What a plan may do.
#[derive(Debug, Clone, Default, Args)]
pub(crate) struct PlanOptions {
    /// Allow a plan during which nobody is served for a while.
    #[arg(long)]
    pub(crate) allow_downtime: bool,
    /// Replace this droplet, in the way that keeps users served.
    #[arg(long, value_name = "ADDRESS")]
    pub(crate) replace: Vec<String>,
    /// Take back the release that an earlier run left under way, and do nothing else.
    #[arg(long, conflicts_with_all = ["allow_downtime", "replace"])]
    pub(crate) abort: bool,
}

impl PlanOptions {
    /// What a plan with these options is for, and how much of the spec it needs.
    pub(crate) fn purpose(&self) -> (Purpose, Need) {
        match self.abort {
            true => (Purpose::Rollback, Need::Access),
            false => (Purpose::Apply, Need::Whole),
        }
    }
}

/// How the state is locked.
#[derive(Debug, Clone, Default, Args)]
pub(crate) struct LockOptions {
    /// Wait so long for somebody else's lock, as in 90s or 10m.
    #[arg(long, value_name = "TIME", default_value = "0s", value_parser = time)]
    pub(crate) lock_timeout: Duration,
    /// What excludes rivals. `advisory` is for stores that honour no conditional writes: forks are found, not prevented.
    #[arg(long, value_enum, default_value_t, value_name = "KIND")]
    pub(crate) lock: LockKind,
}

/// What excludes rivals.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, ValueEnum)]
pub(crate) enum LockKind {
    /// The store's conditional writes, which are tried out first.
    #[default]
    Conditional,
    /// Courtesy.
    Advisory,
}

impl From<LockKind> for Locking {
    fn from(kind: LockKind) -> Self {
        match kind {
            LockKind::Conditional => Self::Conditional,
            LockKind::Advisory => Self::Advisory,
        }
    }
}

fn time(text: &str) -> Result<Duration, String> {
    let time: SignedDuration = text.parse().map_err(|_| "write 90s, 10m or 1h".to_owned())?;
    Duration::try_from(time).map_err(|_| "a time cannot be negative".to_owned())
}

/// Options of everything that changes the world.
#[derive(Debug, Clone, Args)]
pub(crate) struct RunOptions {
    /// Do not ask.
    #[arg(long)]
    pub(crate) auto_approve: bool,
    /// How many steps may run at a time.
    #[arg(long, value_name = "N", default_value_t = 10, value_parser = clap::value_parser!(u16).range(1..=100))]
    pub(crate) parallelism: u16,
    /// The lock.
    #[command(flatten)]
    pub(crate) lock: LockOptions,
}

/// Options of `apply`.
#[derive(Debug, Clone, Args)]
#[command(
    after_help = "Example:\n  seachange apply -f specs/webgui.yaml --var VERSION=1.1\n  seachange apply -f \
                        specs/webgui.yaml --var VERSION=1.1 release.plan"
)]
pub(crate) struct Apply {
    /// A plan saved by `plan --out`: exactly that is done, or nothing.
    #[arg(conflicts_with = "abort")]
    pub(crate) plan: Option<PathBuf>,
    /// Which spec.
    #[command(flatten)]
    pub(crate) spec: SpecArguments,
    /// What it may do.
    #[command(flatten)]
    pub(crate) options: PlanOptions,
    /// How it runs.
    #[command(flatten)]
    pub(crate) run: RunOptions,
}

/// Options of `destroy`.
#[derive(Debug, Clone, Args)]
#[command(after_help = "Example:\n  seachange destroy -f specs/webgui.yaml")]
pub(crate) struct Destroy {
    /// Which spec.
    #[command(flatten)]
    pub(crate) spec: SpecArguments,
    /// How it runs.
    #[command(flatten)]
    pub(crate) run: RunOptions,
}

/// Options of `rollback`.
#[derive(Debug, Clone, Args)]
#[command(after_help = "Example:\n  seachange rollback -f specs/webgui.yaml")]
pub(crate) struct Rollback {
    /// Which spec.
    #[command(flatten)]
    pub(crate) spec: SpecArguments,
    /// How it runs.
    #[command(flatten)]
    pub(crate) run: RunOptions,
    /// Show the plan and do nothing.
    #[arg(long)]
    pub(crate) dry_run: bool,
}

/// Options of `show`.
#[derive(Debug, Clone, Args)]
#[command(after_help = "Example:\n  seachange show release.plan --format markdown")]
pub(crate) struct Show {
    /// A plan saved by `plan --out`.
    pub(crate) plan: PathBuf,
    /// Which spec, if the plan is encrypted.
    #[command(flatten)]
    pub(crate) spec: SpecArguments,
    /// How to show it.
    #[arg(long, value_enum, default_value_t)]
    pub(crate) format: Format,
}

/// Options of `logs`.
#[derive(Debug, Clone, Args)]
#[command(after_help = "Example:\n  seachange logs -f specs/webgui.yaml --standby --lines 100")]
pub(crate) struct Logs {
    /// Of this worker, as plans and errors call it: `droplet.worker[2]`.
    #[arg(conflicts_with_all = ["worker", "standby"])]
    pub(crate) address: Option<Address>,
    /// Which spec.
    #[command(flatten)]
    pub(crate) spec: SpecArguments,
    /// Of the worker with this number instead of the live one.
    #[arg(long, value_name = "N", conflicts_with = "standby")]
    pub(crate) worker: Option<u32>,
    /// Of the standby (the first one, if there are more) instead of the live one.
    #[arg(long)]
    pub(crate) standby: bool,
    /// How many lines.
    #[arg(long, default_value_t = 50)]
    pub(crate) lines: usize,
}

/// What to do with the state.
#[derive(Debug, Subcommand)]
pub(crate) enum StateCommand {
    /// List the addresses, and what each is in the cloud.
    List(Target),
    /// Show a whole state: the newest, or that of a serial; or one address of the newest.
    #[command(
        after_help = "Example:\n  seachange state show 41\n  seachange state show 'droplet.worker[1]'"
    )]
    Show {
        /// A serial or an address.
        what: Option<String>,
        /// Of which stack.
        #[command(flatten)]
        spec: SpecArguments,
    },
    /// List the commits, newest first, with what each changed.
    History {
        /// At most so many.
        #[arg(long, default_value_t = 20)]
        limit: usize,
        /// Of which stack.
        #[command(flatten)]
        spec: SpecArguments,
    },
    /// Compare two serials; without any, the newest with the one before it.
    #[command(after_help = "Example:\n  seachange state diff 40 42")]
    Diff {
        /// The older serial.
        old: Option<u64>,
        /// The newer serial; the newest without it.
        new: Option<u64>,
        /// Of which stack.
        #[command(flatten)]
        spec: SpecArguments,
    },
    /// Write the newest state's own file to stdout.
    Pull(Target),
    /// Make a state from `pull`, edited, or a rescued one, the newest.
    #[command(after_help = "Example:\n  seachange state push webgui-41.rescued-state.json")]
    Push {
        /// The file.
        state: PathBuf,
        /// Of which stack.
        #[command(flatten)]
        edit: EditArguments,
    },
    /// Make an earlier state the newest, as a new serial.
    #[command(after_help = "Example:\n  seachange state restore 40")]
    Restore {
        /// Its serial.
        serial: u64,
        /// Of which stack.
        #[command(flatten)]
        edit: EditArguments,
    },
    /// Give a resource another address. Nothing in the cloud is touched.
    #[command(
        after_help = "Example:\n  seachange state mv 'droplet.worker[2]' 'droplet.worker[3]'"
    )]
    Mv {
        /// Its address now.
        from: Address,
        /// Its new address.
        to: Address,
        /// Of which stack.
        #[command(flatten)]
        edit: EditArguments,
    },
    /// Forget a resource. Nothing in the cloud is touched.
    #[command(after_help = "Example:\n  seachange state rm record.www")]
    Rm {
        /// Its address.
        address: Address,
        /// Of which stack.
        #[command(flatten)]
        edit: EditArguments,
    },
    /// Delete old serials: never one younger than a day, never the newest 50.
    Prune {
        /// Keep so many.
        #[arg(long, default_value_t = 200)]
        keep: usize,
        /// Of which stack.
        #[command(flatten)]
        spec: SpecArguments,
    },
}

impl StateCommand {
    /// Which spec it is about.
    pub(crate) fn spec(&self) -> &SpecArguments {
        match self {
            Self::List(Target { spec })
            | Self::Pull(Target { spec })
            | Self::Show { spec, .. }
            | Self::History { spec, .. }
            | Self::Diff { spec, .. }
            | Self::Prune { spec, .. } => spec,
            Self::Push { edit, .. }
            | Self::Restore { edit, .. }
            | Self::Mv { edit, .. }
            | Self::Rm { edit, .. } => &edit.spec,
        }
    }
}

/// Which state is edited, and how it is locked meanwhile.
#[derive(Debug, Clone, Args)]
pub(crate) struct EditArguments {
    /// Of which stack.
    #[command(flatten)]
    pub(crate) spec: SpecArguments,
    /// The lock.
    #[command(flatten)]
    pub(crate) lock: LockOptions,
}

/// What to do with the lock.
#[derive(Debug, Subcommand)]
pub(crate) enum LockCommand {
    /// Say who holds it and whether they live.
    Status {
        /// Watch for signs of life at most so long.
        #[arg(long, value_name = "TIME", default_value = "12s", value_parser = time)]
        watch: Duration,
        /// Of which stack.
        #[command(flatten)]
        spec: SpecArguments,
    },
    /// Take it until `lock release`: nothing is applied meanwhile, and nobody takes it over.
    #[command(
        after_help = "Example:\n  seachange lock acquire -m \"freeze until the audit is over\""
    )]
    Acquire {
        /// Why, for everybody who meets it.
        #[arg(short, long, value_name = "TEXT")]
        message: String,
        /// Of which stack.
        #[command(flatten)]
        edit: EditArguments,
    },
    /// Give back a lock that a person took.
    Release(Target),
}

/// Options of `init`.
#[derive(Debug, Clone, Args)]
#[command(after_help = "Example:\n  mkdir shop && cd shop && seachange init")]
pub(crate) struct Init {
    /// Where.
    #[arg(default_value = ".")]
    pub(crate) folder: PathBuf,
}

/// What the local cloud's droplets are.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Droplets {
    /// Simulated behind real protocols: no root, nothing to install.
    Simulated,
    /// Containers with systemd, cloud-init, OpenSSH, Docker Engine and HAProxy.
    Docker,
}

/// What to do with the local cloud.
#[derive(Debug, Subcommand)]
pub(crate) enum LocalCommand {
    /// Serve it until stopped, and print the environment that curl, doctl or Terraform need to talk to it.
    Serve {
        /// Port of the API; 0 takes a free one.
        #[arg(long, default_value_t = 0)]
        port: u16,
        /// Where it keeps its world.
        #[arg(long, default_value = ".seachange/local")]
        folder: PathBuf,
        /// What droplets are: simulated, or containers with a real system in them (as root, with Docker).
        #[arg(long, value_enum, default_value_t = Droplets::Simulated)]
        droplets: Droplets,
        /// Most droplets the account may have.
        #[arg(long, default_value_t = 10_000)]
        droplet_limit: u64,
        /// Most reserved IPs the account may have.
        #[arg(long, default_value_t = 3)]
        reserved_ip_limit: u64,
        /// Refuse more than 250 requests a minute and 5,000 an hour, as DigitalOcean does.
        #[arg(long)]
        rate_limits: bool,
    },
    /// Forget its world.
    Reset {
        /// Where it keeps its world.
        #[arg(long, default_value = ".seachange/local")]
        folder: PathBuf,
    },
}

/// Options of `demo`.
#[derive(Debug, Clone, Args)]
pub(crate) struct Demo {
    /// Requests a second during the demo.
    #[arg(long, default_value_t = 200, value_parser = clap::value_parser!(u32).range(1..=5000))]
    pub(crate) rate: u32,
}
