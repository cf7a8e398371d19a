//! Users, many at once: an open loop over kept connections, with slow answers and slow uploads among the quick ones.
//!
//! A request is sent when its time has come, whether or not earlier ones were answered, and what it took counts from that
//! time: a server that stands still cannot hide it by not being asked. A kept connection that the other side closed before it
//! took a request is replaced, as every client does, and counted; whatever else goes wrong is a failure, and nothing is sent twice.

use std::collections::{BTreeMap, VecDeque};
use std::convert::Infallible;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};
use std::thread::JoinHandle;
use std::time::Duration;

use bytes::Bytes;
use http::Request;
use http_body_util::BodyExt as _;
use hyper::body::{Body, Frame, SizeHint};
use hyper::client::conn::http1::{SendRequest, handshake};
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;
use tokio::task::JoinSet;
use tokio::time::{Instant, Sleep};

/// How long a request may take before it counts as failed.
const DEADLINE: Duration = Duration::from_secs(20);
/// How long the app is asked to take over a slow answer.
const SLOW: Duration = Duration::from_secs(5);
/// An upload: so many pieces, each after a pause.
const PIECES: u32 = 16;
const PIECE: usize = 16 * 1024;
const PAUSE: Duration = Duration::from_millis(125);
const VERSION_HEADER: &str = "x-app-version";

/// What to send.
#[derive(Debug, Clone)]
pub(crate) struct Plan {
    pub(crate) address: SocketAddr,
    /// Whom users ask for.
    pub(crate) host: String,
    /// Requests a second.
    pub(crate) rate: u32,
    /// Every so manieth is a slow one, and as many are uploads.
    pub(crate) slow_every: usize,
}

/// What a request is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    Quick,
    /// The answer takes five seconds.
    Slow,
    /// 256 KiB in two seconds.
    Upload,
}

/// A stretch of time, counted from the beginning of the load.
pub(crate) type Window = (Duration, Duration);

/// One request.
#[derive(Debug, Clone)]
struct Sample {
    kind: Kind,
    /// When it was due.
    due: Duration,
    /// How long after that it was begun: the generator's own fault.
    late: Duration,
    /// When it was over.
    end: Duration,
    /// Which version answered, or what went wrong.
    outcome: Result<String, String>,
}

/// A load under way.
pub(crate) struct Load {
    begin: Instant,
    ticks: Ticks,
    stop: Arc<AtomicBool>,
    thread: JoinHandle<Report>,
}

impl Load {
    /// Begins, on a thread of its own.
    pub(crate) fn start(plan: Plan) -> Self {
        let (begin, ticks) = (Instant::now(), Ticks::read());
        let stop = Arc::new(AtomicBool::new(false));
        let stopped = Arc::clone(&stop);
        let thread = std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
            runtime.expect("a runtime").block_on(send_all(plan, begin, &stopped))
        });
        Self { begin, ticks, stop, thread }
    }

    /// How long it has been going on.
    pub(crate) fn now(&self) -> Duration {
        self.begin.elapsed()
    }

    /// Sends nothing more, waits for what is under way, and tells all.
    pub(crate) fn finish(self) -> Report {
        self.stop.store(true, Ordering::Relaxed);
        let report = self.thread.join().expect("the load ran to its end");
        Report { ticks: Ticks::read().since(self.ticks), ..report }
    }
}

/// What the kernel says of the processors' time, in its own unit.
#[derive(Debug, Clone, Copy, Default)]
struct Ticks {
    all: u64,
    /// When a processor had something to do, and its host let others go first.
    stolen: u64,
}

impl Ticks {
    fn read() -> Self {
        let text = std::fs::read_to_string("/proc/stat").unwrap_or_default();
        let words = text.lines().next().unwrap_or_default().split_whitespace().skip(1);
        // What guests use is counted with what users do.
        let counts: Vec<u64> = words.take(8).filter_map(|word| word.parse().ok()).collect();
        Self { all: counts.iter().sum(), stolen: counts.get(7).copied().unwrap_or_default() }
    }

    fn since(self, begin: Self) -> Self {
        Self { all: self.all - begin.all, stolen: self.stolen - begin.stolen }
    }
}

/// What was seen.
#[derive(Debug, Clone, Default)]
pub(crate) struct Report {
    /// In the order of their ends.
    samples: Vec<Sample>,
    reconnected: usize,
    ticks: Ticks,
}

impl Report {
    pub(crate) fn sent(&self) -> usize {
        self.samples.len()
    }

    pub(crate) fn failed(&self) -> usize {
        self.samples.iter().filter(|sample| sample.outcome.is_err()).count()
    }

    pub(crate) fn failed_of(&self, kind: Kind) -> usize {
        let of = |sample: &&Sample| sample.kind == kind && sample.outcome.is_err();
        self.samples.iter().filter(of).count()
    }

    /// Why requests failed, and how many of each kind for that reason.
    pub(crate) fn reasons(&self) -> BTreeMap<String, usize> {
        let mut reasons = BTreeMap::new();
        for sample in &self.samples {
            if let Err(reason) = &sample.outcome {
                *reasons.entry(format!("{:?}: {reason}", sample.kind)).or_default() += 1;
            }
        }
        reasons
    }

    /// Kept connections that were closed before they took a request.
    pub(crate) fn reconnected(&self) -> usize {
        self.reconnected
    }

    /// What this share of the requests that were due in these windows did not exceed. One that failed took for ever.
    pub(crate) fn quantile(&self, share: f64, kind: Kind, windows: &[Window]) -> Duration {
        let within = |due: Duration| windows.iter().any(|(from, to)| (*from..*to).contains(&due));
        let samples =
            self.samples.iter().filter(|sample| sample.kind == kind && within(sample.due));
        let took = |sample: &Sample| match sample.outcome {
            Ok(_) => sample.end - sample.due,
            Err(_) => DEADLINE,
        };
        at_share(share, samples.map(took).collect())
    }

    /// How many requests of this kind were due in the window and answered by this version.
    pub(crate) fn answered_by(&self, version: &str, kind: Kind, (from, to): Window) -> usize {
        let of = |sample: &&Sample| {
            sample.kind == kind
                && (from..to).contains(&sample.due)
                && sample.outcome.as_deref() == Ok(version)
        };
        self.samples.iter().filter(of).count()
    }

    /// The share of the machine's time that it wanted and did not get.
    pub(crate) fn stolen(&self) -> f64 {
        self.ticks.stolen as f64 / self.ticks.all.max(1) as f64
    }

    /// How late requests were begun.
    pub(crate) fn late(&self, share: f64) -> Duration {
        at_share(share, self.samples.iter().map(|sample| sample.late).collect())
    }

    /// How users came from the old version to the new one in a window; `None` if the new one was never seen. Slow requests do
    /// not count: the old version answers those it has begun.
    pub(crate) fn cutover(&self, (from, to): Window, old: &str, new: &str) -> Option<Cutover> {
        let answered = |version: &str| {
            let of = |sample: &&Sample| {
                sample.kind == Kind::Quick
                    && (from..to).contains(&sample.end)
                    && sample.outcome.as_deref() == Ok(version)
            };
            self.samples.iter().filter(of).map(|sample| sample.end).collect::<Vec<_>>()
        };
        let first = *answered(new).first()?;
        let after: Vec<Duration> = answered(old).into_iter().filter(|end| *end > first).collect();
        let took = after.last().map_or(Duration::ZERO, |last| *last - first);
        Some(Cutover { took, old_answers: after.len() })
    }

    /// The longest time without a good answer.
    pub(crate) fn longest_gap(&self) -> Duration {
        let good = self.samples.iter().filter(|sample| sample.outcome.is_ok());
        let ends: Vec<Duration> = good.map(|sample| sample.end).collect();
        ends.windows(2).map(|pair| pair[1] - pair[0]).max().unwrap_or_default()
    }
}

/// From the first answer of a new version to the last one of the old.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Cutover {
    pub(crate) took: Duration,
    /// Answers of the old version in that time.
    pub(crate) old_answers: usize,
}

/// The value that this share of all does not exceed.
fn at_share(share: f64, mut values: Vec<Duration>) -> Duration {
    values.sort_unstable();
    let rank = (values.len() as f64 * share).ceil() as usize;
    values.get(rank.saturating_sub(1)).copied().unwrap_or_default()
}

struct Shared {
    plan: Plan,
    begin: Instant,
    /// The one that has rested longest is used next, so that all are in use.
    idle: Mutex<VecDeque<Connection>>,
    reconnected: AtomicUsize,
}

type Connection = SendRequest<Slowly>;

async fn send_all(plan: Plan, begin: Instant, stop: &AtomicBool) -> Report {
    let interval = Duration::from_secs(1) / plan.rate;
    let shared =
        Arc::new(Shared { plan, begin, idle: Mutex::default(), reconnected: AtomicUsize::new(0) });
    let mut under_way = JoinSet::new();
    let mut samples = Vec::new();
    for number in 0_u32.. {
        let due = interval * number;
        tokio::time::sleep_until(begin + due).await;
        if stop.load(Ordering::Relaxed) {
            break;
        }
        under_way.spawn(one(Arc::clone(&shared), number as usize, due));
        while let Some(done) = under_way.try_join_next() {
            samples.push(done.expect("a request ends"));
        }
    }
    samples.extend(under_way.join_all().await);
    samples.sort_by_key(|sample| sample.end);
    let reconnected = shared.reconnected.load(Ordering::Relaxed);
    Report { samples, reconnected, ..Report::default() }
}

async fn one(shared: Arc<Shared>, number: usize, due: Duration) -> Sample {
    let late = shared.begin.elapsed().saturating_sub(due);
    let kind = kind(number, shared.plan.slow_every);
    let answered = tokio::time::timeout(DEADLINE, ask(&shared, kind)).await;
    let outcome = answered.unwrap_or_else(|_| Err(format!("no answer within {DEADLINE:?}")));
    Sample { kind, due, late, end: shared.begin.elapsed(), outcome }
}

/// Uploads are not begun at the same time as slow ones.
fn kind(number: usize, slow_every: usize) -> Kind {
    match number % slow_every {
        last if last == slow_every - 1 => Kind::Slow,
        third if third == slow_every / 3 => Kind::Upload,
        _ => Kind::Quick,
    }
}

/// Sends one request and reads the whole answer; the version that gave it.
async fn ask(shared: &Shared, kind: Kind) -> Result<String, String> {
    let words = |error: hyper::Error| format!("{error}");
    let kept = shared.idle.lock().unwrap_or_else(PoisonError::into_inner).pop_front();
    let mut connection = match kept {
        Some(mut kept) => match kept.ready().await {
            Ok(()) => kept,
            Err(_) => reconnect(shared).await?,
        },
        None => connect(shared.plan.address).await?,
    };
    let sent = connection.try_send_request(request(&shared.plan, kind)?).await;
    let answer = match sent {
        Ok(answer) => answer,
        // It was closed before anything of the request had left.
        Err(mut error) => match error.take_message() {
            Some(unsent) => {
                connection = reconnect(shared).await?;
                connection.send_request(unsent).await.map_err(words)?
            }
            None => return Err(words(error.into_error())),
        },
    };
    let status = answer.status();
    let version = answer.headers().get(VERSION_HEADER).and_then(|value| value.to_str().ok());
    let version = version.unwrap_or_default().to_owned();
    let body = answer.into_body().collect().await.map_err(words)?.to_bytes();
    if status != 200 {
        return Err(format!("status {}", status.as_u16()));
    }
    let whole = format!("{version} took {} bytes\n", PIECES as usize * PIECE);
    if kind == Kind::Upload && body != whole {
        return Err(format!("of an upload: {}", String::from_utf8_lossy(&body).trim()));
    }
    shared.idle.lock().unwrap_or_else(PoisonError::into_inner).push_back(connection);
    Ok(version)
}

fn request(plan: &Plan, kind: Kind) -> Result<Request<Slowly>, String> {
    let slow = format!("/slow?ms={}", SLOW.as_millis());
    let (method, path, pieces) = match kind {
        Kind::Quick => ("GET", "/", 0),
        Kind::Slow => ("GET", slow.as_str(), 0),
        Kind::Upload => ("POST", "/upload", PIECES),
    };
    let request = Request::builder().method(method).uri(path).header("host", &plan.host);
    let pause = Box::pin(tokio::time::sleep(PAUSE));
    request.body(Slowly { pieces, pause }).map_err(|error| error.to_string())
}

async fn reconnect(shared: &Shared) -> Result<Connection, String> {
    shared.reconnected.fetch_add(1, Ordering::Relaxed);
    connect(shared.plan.address).await
}

async fn connect(address: SocketAddr) -> Result<Connection, String> {
    let stream = TcpStream::connect(address).await.map_err(|error| format!("connect: {error}"))?;
    stream.set_nodelay(true).map_err(|error| format!("connect: {error}"))?;
    let (sender, connection) =
        handshake(TokioIo::new(stream)).await.map_err(|error| error.to_string())?;
    tokio::spawn(connection);
    Ok(sender)
}

/// A body that comes piece by piece.
struct Slowly {
    /// Still to come.
    pieces: u32,
    pause: Pin<Box<Sleep>>,
}

impl Body for Slowly {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        if self.pieces == 0 {
            return Poll::Ready(None);
        }
        std::task::ready!(self.pause.as_mut().poll(context));
        self.pieces -= 1;
        self.pause.as_mut().reset(Instant::now() + PAUSE);
        Poll::Ready(Some(Ok(Frame::data(Bytes::from_static(&[b'x'; PIECE])))))
    }

    fn is_end_stream(&self) -> bool {
        self.pieces == 0
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(u64::from(self.pieces) * PIECE as u64)
    }
}

#[cfg(test)]
mod tests {
    use std::io::{Read as _, Write as _};
    use std::net::{TcpListener, TcpStream};

    use super::*;

    /// Serves each connection by the function, until the process ends.
    fn server(serve: impl Fn(TcpStream) + Send + Sync + 'static) -> SocketAddr {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let address = listener.local_addr().expect("an address");
        let serve = Arc::new(serve);
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let serve = Arc::clone(&serve);
                std::thread::spawn(move || serve(stream));
            }
        });
        address
    }

    /// The next request's head; nothing once the connection has ended.
    fn head(stream: &mut TcpStream) -> Option<String> {
        let mut head = Vec::new();
        let mut byte = [0];
        while !head.ends_with(b"\r\n\r\n") {
            if stream.read(&mut byte).ok()? == 0 {
                return None;
            }
            head.extend(byte);
        }
        String::from_utf8(head).ok()
    }

    fn answer(stream: &mut TcpStream, status: &str, body: &str) {
        let length = body.len();
        let head = format!("HTTP/1.1 {status}\r\nx-app-version: 1.0\r\ncontent-length: {length}");
        // Nobody may be there any more.
        drop(write!(stream, "{head}\r\n\r\n{body}"));
    }

    fn run(address: SocketAddr, rate: u32, time: Duration) -> Report {
        let load = Load::start(Plan {
            address,
            host: "www.example".to_owned(),
            rate,
            slow_every: usize::MAX,
        });
        std::thread::park_timeout(time);
        load.finish()
    }

    #[test]
    fn good_answers_are_counted_and_connections_kept() {
        let connections = Arc::new(AtomicUsize::new(0));
        let seen = Arc::clone(&connections);
        let address = server(move |mut stream| {
            seen.fetch_add(1, Ordering::Relaxed);
            while head(&mut stream).is_some() {
                answer(&mut stream, "200 OK", "");
            }
        });
        let report = run(address, 100, Duration::from_millis(500));
        assert!(report.sent() > 10 && report.failed() == 0, "{:?}", report.reasons());
        assert!(connections.load(Ordering::Relaxed) < report.sent() / 2);
        assert_eq!(report.reconnected(), 0);
    }

    #[test]
    fn a_server_that_stands_still_is_measured_from_when_requests_were_due() {
        let began = Instant::now();
        let address = server(move |mut stream| {
            while head(&mut stream).is_some() {
                let stands = Duration::from_millis(400).saturating_sub(began.elapsed());
                std::thread::park_timeout(stands);
                answer(&mut stream, "200 OK", "");
            }
        });
        let report = run(address, 100, Duration::from_millis(600));
        let all = [(Duration::ZERO, DEADLINE)];
        let (most, half) =
            (report.quantile(1.0, Kind::Quick, &all), report.quantile(0.5, Kind::Quick, &all));
        assert!(most > Duration::from_millis(300), "{most:?}");
        assert!(half > Duration::from_millis(20), "a closed loop would have asked once: {half:?}");
        assert_eq!(report.failed(), 0, "{:?}", report.reasons());
    }

    #[test]
    fn what_goes_wrong_is_a_failure_with_its_reason() {
        for (status, body, reason) in [
            ("500 Internal Server Error", "", "Quick: status 500"),
            ("503 Service Unavailable", "", "Quick: status 503"),
        ] {
            let address = server(move |mut stream| {
                while head(&mut stream).is_some() {
                    answer(&mut stream, status, body);
                }
            });
            let report = run(address, 50, Duration::from_millis(200));
            assert_eq!(report.failed(), report.sent());
            assert_eq!(report.reasons().keys().collect::<Vec<_>>(), [reason]);
        }
        // It takes the request and goes away: sent once, failed, never sent again.
        let address = server(|mut stream| drop(head(&mut stream)));
        let report = run(address, 50, Duration::from_millis(200));
        assert!(report.sent() > 0);
        assert_eq!((report.failed(), report.reconnected()), (report.sent(), 0));
    }

    #[test]
    fn a_kept_connection_that_was_closed_is_replaced_and_counted() {
        let address = server(|mut stream| {
            drop(head(&mut stream));
            answer(&mut stream, "200 OK", "");
        });
        let report = run(address, 50, Duration::from_millis(400));
        assert_eq!(report.failed(), 0, "{:?}", report.reasons());
        assert!(report.reconnected() > 0);
    }

    #[test]
    fn an_upload_has_to_arrive_whole() {
        let half = PIECES as usize * PIECE / 2;
        let address = server(move |mut stream| {
            while let Some(head) = head(&mut stream) {
                assert!(head.contains("content-length: 262144"), "{head}");
                let mut body = vec![0; PIECES as usize * PIECE];
                drop(stream.read_exact(&mut body));
                answer(&mut stream, "200 OK", &format!("1.0 took {half} bytes\n"));
            }
        });
        let load =
            Load::start(Plan { address, host: "www.example".to_owned(), rate: 1, slow_every: 2 });
        std::thread::park_timeout(Duration::from_millis(150));
        let report = load.finish();
        let reason = format!("Upload: of an upload: 1.0 took {half} bytes");
        assert_eq!(report.reasons().keys().collect::<Vec<_>>(), [&reason]);
    }

    #[test]
    fn a_failure_took_for_ever_and_each_kind_has_its_share() {
        let sample = |number: usize, outcome: Result<&str, &str>| Sample {
            kind: Kind::Quick,
            due: Duration::from_millis(number as u64),
            late: Duration::ZERO,
            end: Duration::from_millis(number as u64 + 3),
            outcome: outcome.map(str::to_owned).map_err(str::to_owned),
        };
        let outcomes = [Ok("1.0"), Ok("1.0"), Ok("1.1"), Err("status 503")];
        let samples = outcomes.into_iter().enumerate();
        let samples = samples.map(|(number, outcome)| sample(number, outcome)).collect();
        let report = Report { samples, ..Report::default() };
        let all = (Duration::ZERO, DEADLINE);
        assert_eq!(report.quantile(0.75, Kind::Quick, &[all]), Duration::from_millis(3));
        assert_eq!(report.quantile(1.0, Kind::Quick, &[all]), DEADLINE);
        assert_eq!((report.failed_of(Kind::Quick), report.failed_of(Kind::Slow)), (1, 0));
        assert_eq!(report.answered_by("1.0", Kind::Quick, all), 2);
        assert_eq!(report.answered_by("1.0", Kind::Upload, all), 0);
        let kinds: Vec<Kind> = (0..100).map(|number| kind(number, 100)).collect();
        let count = |kind| kinds.iter().filter(|one| **one == kind).count();
        assert_eq!((count(Kind::Slow), count(Kind::Upload)), (1, 1));
    }

    #[test]
    fn the_cutover_is_from_the_first_of_the_new_to_the_last_of_the_old() {
        let sample = |millis: u64, kind, version: &str| Sample {
            kind,
            due: Duration::ZERO,
            late: Duration::ZERO,
            end: Duration::from_millis(millis),
            outcome: Ok(version.to_owned()),
        };
        let report = Report {
            samples: vec![
                sample(10, Kind::Quick, "1.1"),
                sample(20, Kind::Quick, "1.0"),
                sample(30, Kind::Quick, "1.1"),
                sample(37, Kind::Quick, "1.0"),
                sample(90, Kind::Slow, "1.0"),
                sample(200, Kind::Quick, "1.0"),
            ],
            ..Report::default()
        };
        let millis = Duration::from_millis;
        let cutover = |window| report.cutover(window, "1.0", "1.1");
        let seen = Cutover { took: millis(7), old_answers: 1 };
        assert_eq!(cutover((millis(15), millis(100))), Some(seen));
        assert_eq!(cutover((millis(31), millis(100))), None);
        let never = Cutover { took: millis(0), old_answers: 0 };
        assert_eq!(cutover((millis(25), millis(35))), Some(never));
        assert_eq!(report.longest_gap(), millis(110));
    }
}
