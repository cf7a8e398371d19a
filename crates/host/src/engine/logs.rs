//! What a container wrote.
//!
//! The engine sends both streams as frames (stream, length, bytes) whose borders have nothing to do with lines. A
//! container with a terminal has no frames; ours never have one, but a person may have made the container.

use http::Method;
use seachange_core::host::HostError;

use super::Engine;
use super::containers::escape;

const HEADER: usize = 8;

/// The last lines, oldest first.
pub(crate) async fn tail(
    engine: Engine<'_>,
    container: &str,
    lines: usize,
) -> Result<Vec<String>, HostError> {
    let count = lines.to_string();
    let mut call = engine.call(Method::GET, format!("/containers/{}/logs", escape(container)));
    call.query = vec![("stdout", "true"), ("stderr", "true"), ("tail", count.as_str())];
    let read = async { engine.body(engine.send(call).await?).await };
    let body = read
        .await
        .map_err(|error| error.during(engine.target, &format!("reading the log of {container}")))?;
    let mut all = split(&body);
    // A line that the engine kept in parts counts as several there.
    Ok(all.split_off(all.len().saturating_sub(lines)))
}

/// Lines of both streams, in the order in which they ended.
fn split(body: &[u8]) -> Vec<String> {
    let Some(frames) = frames(body) else { return text_lines(body) };
    let mut lines = Vec::new();
    let mut open = [Vec::new(), Vec::new()];
    for (stream, bytes) in frames {
        let open = &mut open[usize::from(stream == 2)];
        open.extend_from_slice(bytes);
        if let Some(end) = open.iter().rposition(|byte| *byte == b'\n') {
            let rest = open.split_off(end + 1);
            lines.extend(text_lines(&std::mem::replace(open, rest)));
        }
    }
    for rest in open {
        lines.extend(text_lines(&rest));
    }
    lines
}

/// The frames, if the body consists of frames. The last one may be cut.
fn frames(mut body: &[u8]) -> Option<Vec<(u8, &[u8])>> {
    let mut frames = Vec::new();
    while let Some((header, rest)) = body.split_first_chunk::<HEADER>() {
        let [stream @ 0..=2, 0, 0, 0, length @ ..] = *header else { return None };
        let length = usize::try_from(u32::from_be_bytes(length)).ok()?;
        let (bytes, rest) = rest.split_at(length.min(rest.len()));
        frames.push((stream, bytes));
        body = rest;
    }
    (body.is_empty() || !frames.is_empty()).then_some(frames)
}

fn text_lines(bytes: &[u8]) -> Vec<String> {
    String::from_utf8_lossy(bytes).lines().map(str::to_owned).collect()
}

#[cfg(test)]
mod tests {
    use super::split;

    fn frame(stream: u8, text: &str) -> Vec<u8> {
        let mut frame = vec![stream, 0, 0, 0];
        frame.extend(u32::try_from(text.len()).unwrap().to_be_bytes());
        frame.extend(text.as_bytes());
        frame
    }

    #[test]
    fn frames_become_lines_whatever_their_borders() {
        let body = [
            frame(1, "one\ntw"),
            frame(2, "oops\n"),
            frame(1, "o\n"),
            frame(2, "half \u{fc}"),
            frame(1, ""),
            frame(2, " line"),
        ]
        .concat();
        assert_eq!(split(&body), ["one", "oops", "two", "half ü line"]);
        assert!(split(b"").is_empty());
    }

    #[test]
    fn a_cut_frame_and_a_terminal_s_text_are_readable() {
        let mut body = frame(1, "whole\ncut off here");
        body.truncate(body.len() - 5);
        assert_eq!(split(&body), ["whole", "cut off"]);
        assert_eq!(split(b"plain\r\ntext"), ["plain", "text"]);
        assert_eq!(split(b"plain text without any frame\n"), ["plain text without any frame"]);
    }
}
