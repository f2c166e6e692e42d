//! Bytes of tokens on their way to text: whole characters only, and nothing beyond a stop string.

/// Turns token bytes into text, holding back what may still become part of a character or a stop string.
#[derive(Debug)]
pub struct TextStream {
    stops: Vec<String>,
    bytes: Vec<u8>,
    held: String,
    /// The stop string that was reached.
    stopped: Option<String>,
    /// Bytes taken.
    taken: usize,
    /// Bytes taken that are part of the text returned, and will be whatever follows.
    settled: usize,
}

impl TextStream {
    /// A stream that ends before any of `stops`. Empty stop strings are ignored.
    pub fn new(stops: impl IntoIterator<Item = String>) -> Self {
        let stops = stops.into_iter().filter(|stop| !stop.is_empty()).collect();
        Self { stops, bytes: Vec::new(), held: String::new(), stopped: None, taken: 0, settled: 0 }
    }

    /// Takes the bytes of one token and returns the text that is certain now.
    pub fn push(&mut self, token: &[u8]) -> String {
        if self.stopped.is_some() {
            return String::new();
        }
        self.taken += token.len();
        self.bytes.extend_from_slice(token);
        let (text, rest) = decode(&self.bytes);
        self.held.push_str(&text);
        self.bytes = rest;
        let found = self.stops.iter().filter_map(|stop| Some((self.held.find(stop)?, stop)));
        if let Some((at, stop)) = found.min() {
            self.stopped = Some(stop.clone());
            self.settled = (self.taken - self.bytes.len()).saturating_sub(self.held.len() - at);
            self.held.truncate(at);
            return std::mem::take(&mut self.held);
        }
        let keep = self.longest_beginning_of_a_stop();
        // What is held back is the beginning of a stop string: every byte of it came as it is.
        self.settled = (self.taken - self.bytes.len()).saturating_sub(keep);
        let certain = self.held.len() - keep;
        let rest = self.held.split_off(certain);
        std::mem::replace(&mut self.held, rest)
    }

    /// How many of the bytes taken are part of the text returned so far.
    pub const fn settled(&self) -> usize {
        self.settled
    }

    /// The stop string that was reached.
    pub fn stopped(&self) -> Option<&str> {
        self.stopped.as_deref()
    }

    /// What is left at the end. The bytes of a character that was cut off are dropped.
    pub fn finish(self) -> String {
        if self.stopped.is_some() { String::new() } else { self.held }
    }

    /// How many bytes at the end of the held text are the beginning of a stop string.
    fn longest_beginning_of_a_stop(&self) -> usize {
        let is_beginning = |tail: &str| self.stops.iter().any(|stop| stop.starts_with(tail));
        let starts = self.held.char_indices().map(|(at, _)| at);
        starts.map(|at| &self.held[at..]).find(|tail| is_beginning(tail)).map_or(0, str::len)
    }
}

/// Splits bytes into text and an incomplete character at the end; invalid bytes are replaced.
fn decode(bytes: &[u8]) -> (String, Vec<u8>) {
    let mut text = String::new();
    let mut rest = bytes;
    loop {
        match std::str::from_utf8(rest) {
            Ok(valid) => {
                text.push_str(valid);
                return (text, Vec::new());
            }
            Err(error) => {
                let (valid, after) = rest.split_at(error.valid_up_to());
                text.push_str(&String::from_utf8_lossy(valid));
                let Some(length) = error.error_len() else { return (text, after.to_vec()) };
                text.push(char::REPLACEMENT_CHARACTER);
                rest = &after[length..];
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::TextStream;

    #[test]
    fn it_is_known_which_bytes_the_text_came_from() {
        let mut stream = TextStream::new(["STOP".to_owned()]);
        for (token, settled) in [
            (&b"a\xc3"[..], 1),
            (b"\xb1", 3),
            (b"\xff", 4),
            (b"x ST", 6),
            (b"ILL", 11),
            (b"end S", 15),
            (b"TOP!", 15),
        ] {
            stream.push(token);
            assert_eq!(stream.settled(), settled, "{}", token.escape_ascii());
        }
    }

    #[test]
    fn text_comes_in_whole_characters_and_ends_before_stops() {
        type Case = (&'static [&'static [u8]], &'static [&'static str], &'static str, bool);
        let cases: &[Case] = &[
            (&[b"hello ", b"world"], &[], "hello world", false),
            (&[b"a\xc3", b"\xb1o"], &[], "año", false),
            (&[b"x\xf0\x9f", b"\xa6", b"\xab"], &[], "x🦫", false),
            (&[b"bad \xff byte"], &[], "bad \u{fffd} byte", false),
            (&[b"cut \xc3"], &[], "cut ", false),
            (&[b"cut \xf0\x9f", b"\xa6"], &[], "cut ", false),
            (&[b"one ST", b"OP two"], &["STOP"], "one ", true),
            (&[b"one ST", b"ILL two"], &["STOP"], "one STILL two", false),
            (&[b"a\n", b"\nb"], &["\n\n"], "a", true),
            (&[b"aaab"], &["aab"], "a", true),
            (&[b"first second"], &["second", "first"], "", true),
            (&[b"ends with ST"], &["STOP"], "ends with ST", false),
            (&[b"x"], &[""], "x", false),
        ];
        for (tokens, stops, expected, stopped) in cases {
            let mut stream = TextStream::new(stops.iter().map(ToString::to_string));
            let mut text: String = tokens.iter().map(|token| stream.push(token)).collect();
            assert_eq!(stream.stopped().is_some(), *stopped, "{tokens:?}");
            text.push_str(&stream.finish());
            assert_eq!(&text, expected, "{tokens:?} with stops {stops:?}");
        }
    }
}
