//! Server-sent events, as the HTML standard defines them, as far as the box uses them.

/// One event.
#[derive(Debug, PartialEq, Eq)]
pub struct Event {
    /// Its name; empty when it has none.
    pub name: String,
    /// Its data, lines joined.
    pub data: String,
}

/// Puts events together from pieces of a body.
#[derive(Debug, Default)]
pub struct Parser {
    rest: Vec<u8>,
    name: String,
    data: Vec<String>,
}

impl Parser {
    /// The events that these bytes complete.
    pub fn push(&mut self, bytes: &[u8]) -> Vec<Event> {
        self.rest.extend_from_slice(bytes);
        let mut events = Vec::new();
        while let Some(end) = self.rest.iter().position(|byte| *byte == b'\n') {
            let line: Vec<u8> = self.rest.drain(..=end).collect();
            let line = String::from_utf8_lossy(&line);
            events.extend(self.line(line.trim_end_matches(['\n', '\r'])));
        }
        events
    }

    fn line(&mut self, line: &str) -> Option<Event> {
        if line.is_empty() {
            let name = std::mem::take(&mut self.name);
            let data = std::mem::take(&mut self.data);
            return (!data.is_empty()).then(|| Event { name, data: data.join("\n") });
        }
        let (field, value) = line.split_once(':').unwrap_or((line, ""));
        let value = value.strip_prefix(' ').unwrap_or(value);
        match field {
            "event" => value.clone_into(&mut self.name),
            "data" => self.data.push(value.to_owned()),
            // A comment keeps the connection alive; other fields are for browsers.
            _ => {}
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn event(name: &str, data: &str) -> Event {
        Event { name: name.into(), data: data.into() }
    }

    #[test]
    fn events_come_whole_wherever_the_body_is_cut() {
        let body = ": hello\n\nevent: token\ndata: {\"text\":\"ñ\"}\n\nevent: two\r\ndata: a\r\ndata:b\r\n\r\n: alive\n\ndata: x\n\nevent: cut\ndata: lost\n";
        let expected = [event("token", "{\"text\":\"ñ\"}"), event("two", "a\nb"), event("", "x")];
        for size in 1..body.len() {
            let mut parser = Parser::default();
            let events: Vec<Event> =
                body.as_bytes().chunks(size).flat_map(|piece| parser.push(piece)).collect();
            assert_eq!(events, expected, "in pieces of {size}");
        }
    }
}
