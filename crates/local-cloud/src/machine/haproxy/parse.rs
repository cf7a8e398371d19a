//! Reads haproxy.cfg, line by line, and complains as HAProxy does: every complaint, with its line.

use std::net::Ipv4Addr;
use std::time::Duration;

use super::{
    Backend, Check, Config, Connections, Frontend, Options, RetryOn, Reuse, Server, Usage,
};

/// Settings of the process, which no request can tell apart.
const PROCESS: [&str; 16] = [
    "ca-base",
    "chroot",
    "crt-base",
    "daemon",
    "group",
    "hard-stop-after",
    "log",
    "maxconn",
    "nbthread",
    "pidfile",
    "ssl-default-bind-ciphers",
    "ssl-default-bind-ciphersuites",
    "ssl-default-bind-options",
    "stats",
    "uid",
    "user",
];
/// Options that only change what is logged.
const LOGGING: [&str; 5] =
    ["dontlog-normal", "dontlognull", "httplog", "log-health-checks", "tcplog"];
const USUAL_CHECK: Check = Check { interval: Duration::from_secs(2), fall: 3, rise: 2 };

/// Reads a configuration, or answers HAProxy's complaints, one a line.
pub fn read(text: &str, path: &str) -> Result<Config, Vec<String>> {
    let mut reader = Reader { path, ..Reader::default() };
    for (number, line) in text.lines().enumerate() {
        reader.line = number + 1;
        let words = words(line);
        if let Err(complaint) = reader.take(&words.iter().map(String::as_str).collect::<Vec<_>>()) {
            let line = reader.line;
            reader.complaints.push(format!("parsing [{path}:{line}] : {complaint}"));
        }
    }
    if !text.is_empty() && !text.ends_with('\n') {
        reader.complaints.push(format!(
            "parsing [{path}:{}]: Missing LF on last line, file might have been truncated at position {}.",
            reader.line,
            text.lines().next_back().map_or(0, str::len) + 1
        ));
    }
    reader.finish()
}

#[derive(Default)]
struct Reader<'a> {
    path: &'a str,
    line: usize,
    section: Section,
    defaults: Options,
    config: Config,
    complaints: Vec<String>,
}

#[derive(Default)]
enum Section {
    #[default]
    None,
    Global,
    Defaults,
    Frontend(Frontend),
    Backend(String, Backend),
}

impl Section {
    fn name(&self) -> &'static str {
        match self {
            Self::None => "none",
            Self::Global => "global",
            Self::Defaults => "defaults",
            Self::Frontend(_) => "frontend",
            Self::Backend(..) => "backend",
        }
    }
}

impl Reader<'_> {
    fn take(&mut self, words: &[&str]) -> Result<(), String> {
        match words {
            [] => Ok(()),
            ["global"] => self.begin(Section::Global),
            ["defaults", ..] => {
                self.defaults = Options::default();
                self.begin(Section::Defaults)
            }
            ["frontend", name] => {
                let (name, options) = ((*name).to_owned(), self.defaults.clone());
                let (binds, backend) = (Vec::new(), String::new());
                self.begin(Section::Frontend(Frontend { name, binds, backend, options }))
            }
            ["backend", name] => {
                let (servers, options) = (Vec::new(), self.defaults.clone());
                self.begin(Section::Backend((*name).to_owned(), Backend { servers, options }))
            }
            [section @ ("frontend" | "backend"), ..] => {
                Err(format!("'{section}' expects one <id> as argument"))
            }
            words => self.directive(words),
        }
    }

    fn begin(&mut self, next: Section) -> Result<(), String> {
        match std::mem::replace(&mut self.section, next) {
            Section::Frontend(frontend) => self.config.frontends.push(frontend),
            Section::Backend(name, backend) => {
                self.config.backends.insert(name, backend);
            }
            Section::None | Section::Global | Section::Defaults => {}
        }
        Ok(())
    }

    fn directive(&mut self, words: &[&str]) -> Result<(), String> {
        let unknown = format!(
            "unknown keyword '{}' in '{}' section",
            words.first().unwrap_or(&""),
            self.section.name()
        );
        match (&mut self.section, words) {
            (Section::None, _) | (_, []) => Err(unknown),
            (Section::Global, [word, ..]) => {
                let known = PROCESS.contains(word) || word.starts_with("tune.");
                if known { Ok(()) } else { Err(unknown) }
            }
            (_, ["log" | "maxconn", ..]) => Ok(()),
            (Section::Frontend(frontend), ["bind", address]) => {
                frontend.binds.push(bind(address)?);
                Ok(())
            }
            (
                Section::Frontend(Frontend { options, .. })
                | Section::Backend(_, Backend { options, .. }),
                ["http-request", "disable-l7-retry", "unless", "{", "method", methods @ .., "}"],
            ) => {
                options.sent_again = Some(methods.iter().map(|&method| method.into()).collect());
                Ok(())
            }
            (Section::Frontend(frontend), ["default_backend", name]) => {
                (*name).clone_into(&mut frontend.backend);
                Ok(())
            }
            (Section::Backend(_, backend), ["server", name, address, rest @ ..]) => {
                backend.servers.push(server(name, address, rest)?);
                Ok(())
            }
            (Section::Backend(..) | Section::Defaults, ["balance", "roundrobin"]) => Ok(()),
            (Section::Defaults, words) => shared(&mut self.defaults, words, &unknown),
            (Section::Frontend(Frontend { options, .. }), words)
            | (Section::Backend(_, Backend { options, .. }), words) => {
                shared(options, words, &unknown)
            }
        }
    }

    fn finish(mut self) -> Result<Config, Vec<String>> {
        let mut complaints = std::mem::take(&mut self.complaints);
        if let Err(complaint) = self.begin(Section::None) {
            complaints.push(complaint);
        }
        for Frontend { name, backend, options, .. } in &self.config.frontends {
            if !options.http {
                complaints
                    .push(format!("Proxy '{name}': this load balancer has `mode http` only."));
            }
            if !backend.is_empty() && !self.config.backends.contains_key(backend) {
                complaints.push(format!(
                    "Proxy '{name}': unable to find required default_backend: '{backend}'."
                ));
            }
        }
        if complaints.is_empty() {
            return Ok(self.config);
        }
        complaints.push(format!("Error(s) found in configuration file : {}", self.path));
        complaints.push("Fatal errors found in configuration.".to_owned());
        Err(complaints)
    }
}

/// What may stand in `defaults`, `frontend` and `backend` alike.
fn shared(options: &mut Options, words: &[&str], unknown: &str) -> Result<(), String> {
    match words {
        ["mode", "http"] => options.http = true,
        ["mode", "tcp"] => options.http = false,
        ["option", name, ..] => option(options, name, true)?,
        ["no", "option", name] => option(options, name, false)?,
        ["timeout", name, time] => timeout(options, name, time)?,
        // A connection that nobody cuts without a word needs no keep-alive.
        ["srvtcpka-idle" | "srvtcpka-intvl", text] if time(text).is_some() => {}
        ["srvtcpka-cnt", count] if count.parse::<u32>().is_ok() => {}
        ["retries", count] => {
            options.retries = count
                .parse()
                .map_err(|_| "'retries' expects an integer argument (number of retries).")?;
        }
        ["retry-on", reasons @ ..] if !reasons.is_empty() => options.retry_on = retry_on(reasons)?,
        ["http-reuse", "never"] => options.reuse = Reuse::Never,
        ["http-reuse", "safe" | "aggressive" | "always"] => options.reuse = Reuse::Shared,
        ["http-reuse", ..] => {
            return Err(
                "'http-reuse' only supports 'never', 'safe', 'aggressive', 'always'.".to_owned()
            );
        }
        _ => return Err(unknown.to_owned()),
    }
    Ok(())
}

fn option(options: &mut Options, name: &str, on: bool) -> Result<(), String> {
    match name {
        "forwardfor" => options.forwarded_for = on,
        "redispatch" => options.redispatch = on,
        "http-server-close" | "httpclose" | "http-keep-alive" => {
            options.connections = match (name, on) {
                ("http-server-close", true) => Connections::ServerClose,
                ("httpclose", true) => Connections::Close,
                _ => Connections::KeepAlive,
            };
        }
        "srvtcpka" => {}
        name if LOGGING.contains(&name) => {}
        name => return Err(format!("unknown option '{name}'.")),
    }
    Ok(())
}

fn timeout(options: &mut Options, name: &str, text: &str) -> Result<(), String> {
    let time = Some(time(text).ok_or_else(|| {
        format!("timeout {name}: unexpected character in '{text}', expected a time such as 5s")
    })?);
    match name {
        "connect" => options.connect_timeout = time,
        "server" => options.server_timeout = time,
        "client" => options.client_timeout = time,
        "http-keep-alive" => options.keep_alive_timeout = time,
        // Of these only the first is ever shorter than the others in practice, and hyper reads heads in one go.
        "http-request" | "queue" | "check" => {}
        name => return Err(format!("unknown timeout '{name}'")),
    }
    Ok(())
}

fn retry_on(reasons: &[&str]) -> Result<RetryOn, String> {
    let none = RetryOn { connect: false, ..RetryOn::default() };
    reasons.iter().try_fold(none, |on, reason| match *reason {
        "none" => Ok(none),
        "conn-failure" => Ok(RetryOn { connect: true, ..on }),
        "empty-response" => Ok(RetryOn { empty: true, ..on }),
        "junk-response" => Ok(RetryOn { junk: true, ..on }),
        "response-timeout" => Ok(RetryOn { timeout: true, ..on }),
        "all-retryable-errors" => Ok(RetryOn {
            connect: true,
            empty: true,
            junk: true,
            timeout: true,
            server_errors: true,
        }),
        reason => Err(format!("'retry-on': unknown keyword '{reason}'.")),
    })
}

fn bind(text: &str) -> Result<(Option<Ipv4Addr>, u16), String> {
    let wrong = || format!("'bind' : invalid address: '{text}'");
    let (address, port) = text.rsplit_once(':').ok_or_else(wrong)?;
    let port = port.parse().map_err(|_| wrong())?;
    match address {
        "" | "*" | "0.0.0.0" => Ok((None, port)),
        address => Ok((Some(address.parse().map_err(|_| wrong())?), port)),
    }
}

fn server(name: &str, address: &str, mut rest: &[&str]) -> Result<Server, String> {
    let wrong = || format!("'server {name}' : could not resolve address '{address}'.");
    let (host, port) = address.rsplit_once(':').ok_or_else(wrong)?;
    let mut server = Server {
        name: name.to_owned(),
        address: host.parse().map_err(|_| wrong())?,
        port: port.parse().map_err(|_| wrong())?,
        check: None,
        usage: Usage::Ready,
    };
    let mut check = USUAL_CHECK;
    while let [word, tail @ ..] = rest {
        rest = match (*word, tail) {
            ("check", tail) => {
                server.check = Some(check);
                tail
            }
            ("disabled", tail) => {
                server.usage = Usage::Maint;
                tail
            }
            ("inter", [text, tail @ ..]) if time(text).is_some() => {
                check.interval = time(text).unwrap_or(check.interval);
                tail
            }
            (count @ ("fall" | "rise"), [text, tail @ ..]) if text.parse::<u32>().is_ok() => {
                let number = text.parse().unwrap_or(1);
                *(if count == "fall" { &mut check.fall } else { &mut check.rise }) = number;
                tail
            }
            (word, _) => return Err(format!("'server {name}' : unknown keyword '{word}'.")),
        };
    }
    server.check = server.check.map(|_| check);
    Ok(server)
}

/// HAProxy's times: a number and a unit, milliseconds if there is none.
fn time(text: &str) -> Option<Duration> {
    let digits = text.trim_end_matches(|c: char| c.is_ascii_alphabetic());
    let number: u64 = digits.parse().ok()?;
    Some(match &text[digits.len()..] {
        "us" => Duration::from_micros(number),
        "" | "ms" => Duration::from_millis(number),
        "s" => Duration::from_secs(number),
        "m" => Duration::from_secs(number.checked_mul(60)?),
        "h" => Duration::from_secs(number.checked_mul(3600)?),
        "d" => Duration::from_secs(number.checked_mul(86_400)?),
        _ => return None,
    })
}

/// Words of a line, up to a comment. Quotes hold words together.
fn words(line: &str) -> Vec<String> {
    let mut words = Vec::new();
    let mut word: Option<String> = None;
    let mut quote = None;
    for letter in line.chars() {
        match (quote, letter) {
            (Some(open), letter) if letter == open => quote = None,
            (Some(_), letter) => word.get_or_insert_default().push(letter),
            (None, '#') => break,
            (None, '"' | '\'') => {
                quote = Some(letter);
                word.get_or_insert_default();
            }
            (None, letter) if letter.is_whitespace() => words.extend(word.take()),
            (None, letter) => word.get_or_insert_default().push(letter),
        }
    }
    words.extend(word);
    words
}
