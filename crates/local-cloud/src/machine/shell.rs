//! The machine's shell: the handful of commands a release needs, run on the simulated files and services.
//!
//! It splits words as a POSIX shell does and knows `&&`, `||` and `;`. What it does not simulate (expansion, redirection,
//! pipes, unknown programs) it refuses with an exit code and a message instead of guessing.

use std::fmt::Write as _;

use jiff::Timestamp;
use seachange_core::bootstrap::hex;
use sha2::{Digest as _, Sha256};

use super::files::{FileError, USUAL_MODE};
use super::{Machine, Setup, haproxy};

/// What a command line did.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Output {
    /// Exit status of the last command.
    pub status: u32,
    /// Standard output.
    pub stdout: Vec<u8>,
    /// Standard error.
    pub stderr: String,
}

/// What stands between two commands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Joint {
    Always,
    IfFine,
    IfNot,
}

/// Runs a command line on the machine.
pub fn run(machine: &mut Machine, now: Timestamp, line: &str) -> Output {
    let mut output = Output::default();
    let commands = match split(line) {
        Ok(commands) => commands,
        Err(what) => {
            output.status = 2;
            output.stderr = format!("bash: {what}\n");
            return output;
        }
    };
    for (joint, words) in commands {
        let due = match joint {
            Joint::Always => true,
            Joint::IfFine => output.status == 0,
            Joint::IfNot => output.status != 0,
        };
        if due {
            let words: Vec<&str> = words.iter().map(String::as_str).collect();
            output.status = command(machine, now, &words, &mut output);
        }
    }
    output
}

/// One command; answers its exit status.
fn command(machine: &mut Machine, now: Timestamp, words: &[&str], output: &mut Output) -> u32 {
    let Some((program, arguments)) = words.split_first() else { return 0 };
    let (options, operands): (Vec<&str>, Vec<&str>) =
        arguments.iter().partition(|word| word.starts_with('-') && word.len() > 1);
    let is_installed = machine.setup(now) == Setup::Done;
    match (*program, &operands[..]) {
        ("true", _) => 0,
        ("false", _) => 1,
        ("echo", _) => {
            output.stdout.extend(format!("{}\n", arguments.join(" ")).bytes());
            0
        }
        ("cloud-init", ["status"]) => cloud_init(machine, now, &options, output),
        ("haproxy", [path]) if options == ["-c", "-f"] && machine.has_haproxy(now) => {
            check_config(machine, path, output)
        }
        ("ssh-keygen", _) => match arguments {
            ["-q", "-t", "ed25519", "-N", "", "-C", "", "-f", path] => {
                each(output, program, &[path], |_, path| match machine.files.get(path) {
                    // It asks whether to overwrite, and nobody answers.
                    Ok(_) => Err(FileError::Exists),
                    Err(_) => machine.generate_key(path),
                })
            }
            _ => usage(output, program),
        },
        ("systemctl", [verb, unit]) => systemctl(machine, now, verb, unit, output),
        ("ss", _) => match arguments {
            ["-H", "-t", "-n", "state", "established", "dst", to] => match to.parse() {
                Ok(to) => {
                    let line = format!("0 0 10.0.0.1:40000 {to}\n");
                    output.stdout.extend(line.repeat(machine.connections().to(to)).bytes());
                    0
                }
                Err(_) => usage(output, program),
            },
            _ => usage(output, program),
        },
        ("docker", _) if is_installed && machine.has_docker(now) => {
            output.stderr.push_str("docker: the simulated machine has the engine's API only\n");
            1
        }
        ("test", [path]) => match options[..] {
            ["-e"] => u32::from(machine.files.get(path) == Err(FileError::Missing)),
            ["-f"] => u32::from(machine.files.get(path).is_err()),
            ["-s"] => u32::from(
                machine.files.get(path).is_ok_and(|file| file.bytes.is_empty())
                    || machine.files.get(path).is_err(),
            ),
            ["-d"] => u32::from(!machine.files.is_folder(path)),
            _ => usage(output, program),
        },
        ("cat" | "sha256sum", paths) => each(output, program, paths, |output, path| {
            let file = machine.files.get(path)?;
            if *program == "cat" {
                output.stdout.extend_from_slice(&file.bytes);
            } else {
                let digest = hex(&Sha256::digest(&file.bytes));
                output.stdout.extend(format!("{digest}  {path}\n").bytes());
            }
            Ok(())
        }),
        ("rm", paths) => each(output, program, paths, |_, path| match machine.files.remove(path) {
            Err(FileError::Missing) if options.contains(&"-f") => Ok(()),
            result => result.map(|()| machine.touch()),
        }),
        ("touch", paths) => each(output, program, paths, |_, path| {
            machine.files.open(path, USUAL_MODE)?;
            machine.touch();
            Ok(())
        }),
        ("mkdir", paths) if options == ["-p"] => each(output, program, paths, |_, path| {
            machine.files.make_folder(path);
            machine.touch();
            Ok(())
        }),
        ("chmod", [mode, paths @ ..]) => match u32::from_str_radix(mode, 8) {
            Ok(mode) => each(output, program, paths, |_, path| {
                machine.files.get_mut(path)?.mode = mode;
                machine.touch();
                Ok(())
            }),
            Err(_) => usage(output, program),
        },
        ("mv" | "cp" | "ln", [from, to]) => each(output, program, &[from], |_, from| {
            if *program == "ln" && !options.contains(&"-f") && machine.files.get(to).is_ok() {
                return Err(FileError::Exists);
            }
            let to = match machine.files.is_folder(to) {
                true => format!("{to}/{}", from.rsplit('/').next().unwrap_or(from)),
                false => (*to).to_owned(),
            };
            match *program {
                "mv" => machine.files.rename(from, &to)?,
                // A hard link to a file that is only ever replaced as a whole is as good as a copy.
                _ => machine.files.copy(from, &to)?,
            }
            machine.touch();
            Ok(())
        }),
        (
            "systemctl" | "haproxy" | "cloud-init" | "test" | "mkdir" | "mv" | "cp" | "ln"
            | "chmod",
            _,
        ) if *program != "haproxy" || machine.has_haproxy(now) => usage(output, program),
        (program, _) => {
            complain(output, "bash", &format!("{program}: command not found"));
            127
        }
    }
}

fn each(
    output: &mut Output,
    program: &str,
    paths: &[&str],
    mut act: impl FnMut(&mut Output, &str) -> Result<(), FileError>,
) -> u32 {
    let mut status = 0;
    for path in paths {
        if let Err(error) = act(output, path) {
            let what = match (program, error) {
                ("mv" | "cp", FileError::Missing) => format!("cannot stat '{path}': {error}"),
                ("rm", _) => format!("cannot remove '{path}': {error}"),
                _ => format!("{path}: {error}"),
            };
            complain(output, program, &what);
            status = 1;
        }
    }
    status
}

fn cloud_init(machine: &Machine, now: Timestamp, options: &[&str], output: &mut Output) -> u32 {
    let (word, status, detail) = match machine.setup(now) {
        Setup::Running => ("running", 0, "DataSourceDigitalOcean".to_owned()),
        Setup::Done => ("done", 0, "DataSourceDigitalOcean".to_owned()),
        Setup::Failed { detail } => ("error", 1, detail),
    };
    match options {
        [] => output.stdout.extend(format!("status: {word}\n").bytes()),
        ["--long"] => {
            output.stdout.extend(format!("status: {word}\ndetail:\n{detail}\n").bytes());
        }
        _ => return usage(output, "cloud-init"),
    }
    status
}

fn check_config(machine: &Machine, path: &str, output: &mut Output) -> u32 {
    let text = match machine.files.get(path) {
        Ok(file) => String::from_utf8_lossy(&file.bytes),
        Err(error) => {
            let what = format!("Cannot open configuration file/directory {path} : {error}");
            complain(output, "[ALERT]    (1) ", &what);
            return 1;
        }
    };
    match haproxy::read(&text, path) {
        Ok(_) => {
            output.stdout.extend(b"Configuration file is valid\n");
            0
        }
        Err(complaints) => {
            for complaint in complaints {
                complain(output, "[ALERT]    (1) : config ", &complaint);
            }
            1
        }
    }
}

fn systemctl(
    machine: &mut Machine,
    now: Timestamp,
    verb: &str,
    unit: &str,
    output: &mut Output,
) -> u32 {
    let unit = unit.trim_end_matches(".service");
    let is_active = match unit {
        "haproxy" => machine.has_haproxy(now),
        "docker" => machine.has_docker(now),
        "ssh" => machine.answers_ssh(now),
        _ => false,
    };
    match verb {
        "is-active" => {
            output.stdout.extend(if is_active { &b"active\n"[..] } else { b"inactive\n" });
            if is_active { 0 } else { 3 }
        }
        "reload" if unit == "haproxy" && is_active => match machine.reload_haproxy() {
            Ok(()) => 0,
            Err(_) => {
                output.stderr.push_str(
                    "Job for haproxy.service failed.\nSee \"systemctl status haproxy.service\" and \"journalctl -xeu haproxy.service\" for details.\n",
                );
                1
            }
        },
        "reload" if unit == "ssh" && is_active => match machine.reload_ssh() {
            true => 0,
            false => {
                output.stderr.push_str("Job for ssh.service failed.\n");
                1
            }
        },
        "reload" if !is_active => {
            let what = format!("Failed to reload {unit}.service: Unit {unit}.service not found.");
            output.stderr.push_str(&what);
            output.stderr.push('\n');
            5
        }
        _ => usage(output, "systemctl"),
    }
}

fn usage(output: &mut Output, program: &str) -> u32 {
    complain(output, program, "the simulated machine does not know these arguments");
    2
}

fn complain(output: &mut Output, who: &str, what: &str) {
    // Writing to a String cannot fail.
    let _: std::fmt::Result = writeln!(output.stderr, "{who}: {what}");
}

/// Commands and what joins them to the one before.
fn split(line: &str) -> Result<Vec<(Joint, Vec<String>)>, String> {
    let mut commands = vec![(Joint::Always, Vec::new())];
    let mut word: Option<String> = None;
    let mut letters = line.chars().peekable();
    let push = |commands: &mut Vec<(Joint, Vec<String>)>, word: &mut Option<String>| {
        if let (Some((_, words)), Some(word)) = (commands.last_mut(), word.take()) {
            words.push(word);
        }
    };
    while let Some(letter) = letters.next() {
        match letter {
            '\'' => {
                let word = word.get_or_insert_default();
                loop {
                    match letters.next() {
                        Some('\'') => break,
                        Some(letter) => word.push(letter),
                        None => return Err("unexpected EOF while looking for matching `''".into()),
                    }
                }
            }
            '"' => {
                let word = word.get_or_insert_default();
                loop {
                    match letters.next() {
                        Some('"') => break,
                        Some('\\') if letters.peek().is_some_and(|c| "\"\\$`".contains(*c)) => {
                            word.extend(letters.next());
                        }
                        Some(letter @ ('$' | '`')) => return Err(not_simulated(letter)),
                        Some(letter) => word.push(letter),
                        None => return Err("unexpected EOF while looking for matching `\"'".into()),
                    }
                }
            }
            '\\' => word.get_or_insert_default().extend(letters.next()),
            ' ' | '\t' => push(&mut commands, &mut word),
            ';' | '\n' => {
                push(&mut commands, &mut word);
                commands.push((Joint::Always, Vec::new()));
            }
            '&' | '|' if letters.peek() == Some(&letter) => {
                letters.next();
                push(&mut commands, &mut word);
                if commands.last().is_some_and(|(_, words)| words.is_empty()) {
                    return Err(format!("syntax error near unexpected token `{letter}{letter}'"));
                }
                let joint = if letter == '&' { Joint::IfFine } else { Joint::IfNot };
                commands.push((joint, Vec::new()));
            }
            '#' if word.is_none() => break,
            letter if "$`*?[]<>|&(){}~!".contains(letter) => return Err(not_simulated(letter)),
            letter => word.get_or_insert_default().push(letter),
        }
    }
    push(&mut commands, &mut word);
    commands.retain(|(_, words)| !words.is_empty());
    Ok(commands)
}

fn not_simulated(letter: char) -> String {
    format!("the simulated shell gives `{letter}` no special meaning: quote it")
}

#[cfg(test)]
mod tests;
