//! `seachange init`: a starter that runs after two secrets are filled in. Never overwrites a file.

use std::fs;
use std::io::Write as _;

use crate::args::Init;
use crate::failure::{Context as _, Failure, Result};
use crate::output::Printer;

/// What is written where.
const FILES: [(&str, &str); 3] = [
    ("seachange.yaml", include_str!("init/seachange.yaml")),
    (".gitlab-ci.yml", include_str!("init/gitlab-ci.yml")),
    (".github/workflows/seachange.yml", include_str!("init/github.yml")),
];

/// Writes the starter files, all or none.
pub(crate) fn run(arguments: &Init, printer: Printer) -> Result<u8> {
    let folder = &arguments.folder;
    for (name, _) in FILES {
        let path = folder.join(name);
        if path.exists() {
            return Err(Failure::new(format!(
                "{} is there already; nothing was written",
                path.display()
            ))
            .help("move it away, or name an empty folder: seachange init FOLDER"));
        }
    }
    for (name, text) in FILES {
        let path = folder.join(name);
        let write = || {
            fs::create_dir_all(path.parent().unwrap_or(folder))?;
            fs::File::create_new(&path)?.write_all(text.as_bytes())
        };
        write().context(|| format!("cannot write {}", path.display()))?;
        printer.talk(&format!("wrote {}", path.display()));
    }
    printer.talk(
        "\nNext, without an account:\n  seachange apply --local --var VERSION=1.0\n\
         and with one:\n  export DIGITALOCEAN_TOKEN=…\n  seachange plan --var VERSION=1.0",
    );
    Ok(crate::exit::FINE)
}
