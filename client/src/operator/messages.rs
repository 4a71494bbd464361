//! Server-sent events (<https://html.spec.whatwg.org/multipage/server-sent-events.html>), as far as
//! the service uses them: lines end with LF, and a message has one line of data.

/// Takes messages out of what was read.
#[derive(Debug, Default)]
pub(super) struct Messages {
    bytes: Vec<u8>,
}

/// One message.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(super) struct Message {
    pub(super) name: String,
    pub(super) data: String,
}

impl Messages {
    /// Adds what was read.
    pub(super) fn feed(&mut self, bytes: &[u8]) {
        self.bytes.extend_from_slice(bytes);
    }

    /// The number of bytes that were read and make no message yet.
    pub(super) fn waiting(&self) -> usize {
        self.bytes.len()
    }

    /// The next message that is whole. Comments, which only show that the service is up, are
    /// skipped.
    pub(super) fn next(&mut self) -> Option<Message> {
        while let Some(end) = self.bytes.windows(2).position(|pair| pair == b"\n\n") {
            let block: Vec<u8> = self.bytes.drain(..end + 2).collect();
            let message = Message::parse(&String::from_utf8_lossy(&block));
            if message != Message::default() {
                return Some(message);
            }
        }
        None
    }
}

impl Message {
    fn parse(block: &str) -> Self {
        let mut message = Self::default();
        for (field, value) in block.lines().filter_map(|line| line.split_once(':')) {
            let value = value.strip_prefix(' ').unwrap_or(value);
            match field {
                "event" => value.clone_into(&mut message.name),
                "data" => value.clone_into(&mut message.data),
                _ => {}
            }
        }
        message
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(chunks: &[&str]) -> Vec<(String, String)> {
        let mut messages = Messages::default();
        let mut all = Vec::new();
        for chunk in chunks {
            messages.feed(chunk.as_bytes());
            all.extend(
                std::iter::from_fn(|| messages.next()).map(|message| (message.name, message.data)),
            );
        }
        all
    }

    #[test]
    fn messages_are_the_same_wherever_the_reads_end() {
        let text = "event: ready\ndata: {}\n\n:\n\nevent: presence\ndata: {\"a\":\"b: c\"}\n\n";
        let expected = read(&[text]);
        assert_eq!(
            expected,
            [("ready", "{}"), ("presence", "{\"a\":\"b: c\"}")].map(|(n, d)| (n.into(), d.into()))
        );
        for end in 1..text.len() {
            assert_eq!(read(&[&text[..end], &text[end..]]), expected, "{end}");
        }
    }

    #[test]
    fn a_comment_is_not_a_message_and_half_a_message_waits() {
        assert!(read(&[":\n\n", "event: presence\ndata: {}\n"]).is_empty());
    }
}
