//! A scripted HTTP server on a loopback port: each request is recorded and answered by a function.
//!
//! Written by hand because its point is to misbehave: to hang up after the request, to break off in the answer, to
//! never answer. Everything runs on the test's own thread, so that paused time only moves when nobody has work.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use seachange_core::secret::Secret;
use seachange_digitalocean::{Client, Config, Retries};
use serde_json::Value;
use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;

/// A text that must never be seen anywhere.
pub(crate) const TOKEN: &str = "dop_v1_do-not-show-me";

/// What arrived.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Seen {
    pub(crate) method: String,
    /// Path and query.
    pub(crate) target: String,
    pub(crate) authorization: String,
    /// All headers, names in lower case, in the order in which they came.
    pub(crate) headers: Vec<(String, String)>,
    /// `null` if there was none.
    pub(crate) body: Value,
}

/// What is done about it.
#[derive(Debug, Clone)]
pub(crate) enum Reply {
    /// A whole answer.
    Answer { status: u16, headers: Vec<(&'static str, String)>, body: String },
    /// The connection is closed after the request was read.
    HangUp,
    /// Half an answer, then the connection is closed.
    BreakOff,
    /// Nothing, ever.
    Silence,
}

/// The server. It ends with this value.
pub(crate) struct Server {
    address: SocketAddr,
    seen: Arc<Mutex<Vec<Seen>>>,
    task: JoinHandle<()>,
}

type Script = dyn Fn(usize, &Seen) -> Reply + Send + Sync;

/// An answer without further headers.
pub(crate) fn answer(status: u16, body: impl Into<String>) -> Reply {
    Reply::Answer { status, headers: Vec::new(), body: body.into() }
}

/// An answer with one header.
pub(crate) fn answer_with(status: u16, name: &'static str, value: &str, body: &str) -> Reply {
    Reply::Answer { status, headers: vec![(name, value.to_owned())], body: body.to_owned() }
}

/// Answers with the replies in turn. Asking for more than there are is a failure that the test sees as status 599.
pub(crate) async fn serve_in_turn(replies: Vec<Reply>) -> Server {
    serve(move |number, _| replies.get(number).cloned().unwrap_or_else(|| answer(599, "too many")))
        .await
}

/// Answers by a function of the request's number, from 0, and the request.
pub(crate) async fn serve(
    script: impl Fn(usize, &Seen) -> Reply + Send + Sync + 'static,
) -> Server {
    let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
    let address = listener.local_addr().unwrap();
    let seen = Arc::new(Mutex::new(Vec::new()));
    let script: Arc<Script> = Arc::new(script);
    let task = tokio::spawn({
        let seen = Arc::clone(&seen);
        async move {
            while let Ok((stream, _)) = listener.accept().await {
                tokio::spawn(converse(stream, Arc::clone(&seen), Arc::clone(&script)));
            }
        }
    });
    Server { address, seen, task }
}

impl Server {
    /// A client of this server, with short pauses.
    pub(crate) fn client(&self) -> Client {
        client(self.address)
    }

    /// What arrived so far.
    pub(crate) fn seen(&self) -> Vec<Seen> {
        self.seen.lock().unwrap().clone()
    }

    /// Where it is.
    pub(crate) fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Method and target of what arrived so far.
    pub(crate) fn lines(&self) -> Vec<String> {
        self.seen().iter().map(|seen| format!("{} {}", seen.method, seen.target)).collect()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// A client of an address.
pub(crate) fn client(address: SocketAddr) -> Client {
    let config = Config {
        base_url: format!("http://{address}"),
        retries: Retries { attempts: 4, first: Duration::from_millis(1), ..Retries::default() },
        ..Config::new(Secret::new(TOKEN))
    };
    Client::new(config).unwrap()
}

async fn converse(stream: TcpStream, all: Arc<Mutex<Vec<Seen>>>, script: Arc<Script>) {
    let mut stream = BufReader::new(stream);
    while let Some(seen) = read_request(&mut stream).await {
        let number = {
            let mut all = all.lock().unwrap();
            all.push(seen.clone());
            all.len() - 1
        };
        let text = match script(number, &seen) {
            Reply::HangUp => return,
            Reply::Silence => return std::future::pending().await,
            Reply::BreakOff => "HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\n{".to_owned(),
            Reply::Answer { status, headers, body } => {
                let mut text = format!("HTTP/1.1 {status} Scripted\r\n");
                for (name, value) in headers {
                    text.push_str(&format!("{name}: {value}\r\n"));
                }
                if status != 204 {
                    text.push_str(&format!("content-length: {}\r\n", body.len()));
                }
                text.push_str("\r\n");
                text.push_str(&body);
                text
            }
        };
        if stream.write_all(text.as_bytes()).await.is_err() || text.ends_with("\r\n\r\n{") {
            return;
        }
    }
}

async fn read_request(stream: &mut BufReader<TcpStream>) -> Option<Seen> {
    let mut lines = Vec::new();
    loop {
        let mut line = String::new();
        if stream.read_line(&mut line).await.ok()? == 0 {
            return None;
        }
        match line.trim_end() {
            "" => break,
            text => lines.push(text.to_owned()),
        }
    }
    let header = |wanted: &str| {
        let pairs = lines.iter().skip(1).filter_map(|line| line.split_once(": "));
        pairs.filter(|(name, _)| name.eq_ignore_ascii_case(wanted)).map(|(_, value)| value).next()
    };
    let length: usize = header("content-length").map_or(0, |length| length.parse().unwrap());
    let mut body = vec![0; length];
    stream.read_exact(&mut body).await.ok()?;
    let headers = lines.iter().skip(1).filter_map(|line| line.split_once(": "));
    let headers = headers.map(|(name, value)| (name.to_lowercase(), value.to_owned())).collect();
    let mut words = lines[0].split(' ');
    Some(Seen {
        method: words.next()?.to_owned(),
        target: words.next()?.to_owned(),
        authorization: header("authorization").unwrap_or_default().to_owned(),
        headers,
        body: if body.is_empty() { Value::Null } else { serde_json::from_slice(&body).unwrap() },
    })
}
