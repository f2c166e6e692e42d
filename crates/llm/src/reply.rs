//! An answer taken apart while it comes: what was thought, what is said, which functions are called.
//!
//! Every family of models marks these in its own way; which one a model uses is seen from its chat template.
//! What cannot be understood is told as text, so that nothing is lost; but a call that was cut off is nobody's text.

mod calls;

use crate::chat::{Conversation, ToolCall};
use calls::Style;

/// The marks of reasoning that the catalog's families share.
const THINK: (&str, &str) = ("<think>", "</think>");
/// What closes thoughts that are cut off.
pub(crate) const END_OF_REASONING: &str = "\n</think>\n\n";

/// A part of an answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Part {
    Text(String),
    Reasoning(String),
    Call(ToolCall),
}

/// How a model's answers are laid out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Layout {
    reasons: bool,
    style: Style,
}

impl Layout {
    /// Sees it from the chat template.
    pub(crate) fn of(template: Option<&str>) -> Self {
        let template = template.unwrap_or_default();
        Self { reasons: template.contains(THINK.1), style: Style::of(template) }
    }

    /// Text of tokens that are marks even if the file calls them special, so that they are seen in answers.
    pub(crate) fn marks() -> impl Iterator<Item = &'static str> {
        [THINK.0, THINK.1].into_iter().chain(Style::marks())
    }

    /// What has to be added to a prompt that ends within the model's reasoning, for an answer without any.
    pub(crate) fn end_of_reasoning(self, prompt: &str) -> Option<&'static str> {
        self.begins_inside(prompt).then_some("\n\n</think>\n\n")
    }

    fn begins_inside(self, prompt: &str) -> bool {
        self.reasons && prompt.trim_end().ends_with(THINK.0)
    }
}

/// Where in the answer we are.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Place {
    /// Nothing but spaces came yet.
    Beginning,
    Reasoning,
    Text,
    /// After a mark that opens calls; what follows it is held until they are whole.
    Calls,
}

/// Takes one answer apart.
#[derive(Debug)]
pub(crate) struct Reply {
    reasons: bool,
    /// Absent when no function may be called.
    style: Option<Style>,
    /// The whole answer has to be a call.
    must_call: bool,
    place: Place,
    held: String,
    /// Nothing of the current reasoning or text was told yet: spaces before it are dropped.
    fresh: bool,
}

impl Reply {
    /// For the answer to this prompt, as the template rendered it. `continued`: the answer goes on with a turn that
    /// has begun.
    pub(crate) fn new(layout: Layout, conversation: &Conversation, prompt: &str, continued: bool) -> Self {
        let (place, style) = if continued {
            (Place::Text, Some(layout.style))
        } else if conversation.must_call() {
            (Place::Calls, Some(Style::Bare))
        } else if layout.begins_inside(prompt) {
            (Place::Reasoning, Some(layout.style))
        } else {
            (Place::Beginning, Some(layout.style))
        };
        let style = style.filter(|_| !conversation.shown_tools().is_empty());
        let must_call = conversation.must_call();
        Self { reasons: layout.reasons, style, must_call, place, held: String::new(), fresh: !continued }
    }

    /// Whether what comes now is thought.
    pub(crate) fn is_reasoning(&self) -> bool {
        self.place == Place::Reasoning
    }

    /// Takes more of the answer and returns the parts that are certain now.
    pub(crate) fn push(&mut self, text: &str) -> Vec<Part> {
        self.held.push_str(text);
        let mut parts = Vec::new();
        while self.advance(&mut parts) {}
        parts
    }

    /// The rest, when the answer has ended. `cut` says that a limit ended it: an unfinished call is dropped then.
    pub(crate) fn finish(mut self, cut: bool) -> Vec<Part> {
        let mut parts = Vec::new();
        let held = std::mem::take(&mut self.held);
        let style = self.style.filter(|_| cut);
        match self.place {
            Place::Calls if style.is_some_and(|style| style.is_unfinished(&held, self.must_call)) => {}
            Place::Beginning | Place::Text if style.is_some_and(|style| style.begins_mark(&held)) => {}
            Place::Calls => self.tell_calls(&held, &mut parts),
            Place::Reasoning => self.tell(Part::Reasoning, held.trim_end(), &mut parts),
            Place::Beginning | Place::Text => self.tell(Part::Text, &held, &mut parts),
        }
        parts
    }

    /// One step; false when more text is needed.
    fn advance(&mut self, parts: &mut Vec<Part>) -> bool {
        match self.place {
            Place::Beginning => self.begin(),
            Place::Reasoning => self.reason(parts),
            Place::Text => self.say(parts),
            Place::Calls => self.call(parts),
        }
    }

    /// Decides what the answer begins with.
    fn begin(&mut self) -> bool {
        let text = self.held.trim_start();
        if text.is_empty() {
            return false;
        }
        if self.reasons {
            if let Some(rest) = text.strip_prefix(THINK.0) {
                self.held = rest.to_owned();
                self.place = Place::Reasoning;
                return true;
            }
            if THINK.0.starts_with(text) {
                return false;
            }
        }
        if self.style.is_some_and(|style| style.begins_bare(text)) {
            self.place = Place::Calls;
            self.style = Some(Style::Bare);
        } else {
            self.place = Place::Text;
        }
        true
    }

    fn reason(&mut self, parts: &mut Vec<Part>) -> bool {
        if let Some(at) = self.held.find(THINK.1) {
            let rest = self.held.split_off(at + THINK.1.len());
            self.held.truncate(at);
            let thought = std::mem::replace(&mut self.held, rest);
            self.tell(Part::Reasoning, thought.trim_end(), parts);
            self.fresh = true;
            // What follows may be a bare call, and no second reasoning.
            self.reasons = false;
            self.place = Place::Beginning;
            return true;
        }
        let certain = certain(&self.held, &[THINK.1], true);
        let rest = self.held.split_off(certain);
        let thought = std::mem::replace(&mut self.held, rest);
        self.tell(Part::Reasoning, &thought, parts);
        false
    }

    fn say(&mut self, parts: &mut Vec<Part>) -> bool {
        let Some(open) = self.style.and_then(Style::open) else {
            let text = std::mem::take(&mut self.held);
            self.tell(Part::Text, &text, parts);
            return false;
        };
        if let Some(at) = self.held.find(open) {
            let rest = self.held.split_off(at + open.len());
            self.held.truncate(at);
            let text = std::mem::replace(&mut self.held, rest);
            self.tell(Part::Text, text.trim_end(), parts);
            self.place = Place::Calls;
            return true;
        }
        let certain = certain(&self.held, &[open], true);
        let rest = self.held.split_off(certain);
        let text = std::mem::replace(&mut self.held, rest);
        self.tell(Part::Text, &text, parts);
        false
    }

    fn call(&mut self, parts: &mut Vec<Part>) -> bool {
        let Some(close) = self.style.and_then(Style::close) else { return false };
        let Some(at) = self.held.find(close) else { return false };
        let rest = self.held.split_off(at + close.len());
        self.held.truncate(at);
        let body = std::mem::replace(&mut self.held, rest);
        self.tell_calls(&body, parts);
        // Spaces between two calls are nobody's text.
        self.fresh = true;
        self.place = Place::Text;
        true
    }

    fn tell_calls(&mut self, body: &str, parts: &mut Vec<Part>) {
        let Some(style) = self.style else { return self.tell(Part::Text, body, parts) };
        if let Some(calls) = style.read(body) {
            parts.extend(calls.into_iter().map(Part::Call));
            return;
        }
        let (open, close) = (style.open().unwrap_or_default(), style.close().unwrap_or_default());
        self.tell(Part::Text, &[open, body, close].concat(), parts);
    }

    fn tell(&mut self, part: fn(String) -> Part, text: &str, parts: &mut Vec<Part>) {
        let text = if self.fresh { text.trim_start() } else { text };
        if !text.is_empty() {
            self.fresh = false;
            parts.push(part(text.to_owned()));
        }
    }
}

/// How many bytes at the beginning cannot become part of a mark; spaces at the end may come before one.
fn certain(text: &str, marks: &[&str], hold_spaces: bool) -> usize {
    let begins_mark = |tail: &str| marks.iter().any(|mark| mark.starts_with(tail));
    let starts = text.char_indices().map(|(at, _)| at);
    let at = starts.filter(|at| begins_mark(&text[*at..])).min().unwrap_or(text.len());
    if hold_spaces { text[..at].trim_end().len() } else { at }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::ToolChoice;

    const QWEN: &str = "{% if tools %}<tool_call>{% endif %} … </think>";
    const DEEPSEEK: &str = "<｜tool▁calls▁begin｜> </think>";
    const KIMI: &str = "<|tool_calls_section_begin|>";
    const MISTRAL: &str = "[TOOL_CALLS]";
    const LLAMA: &str = "<|python_tag|>";

    fn conversation(choice: ToolChoice) -> Conversation {
        let tools = vec![json!({"type": "function", "function": {"name": "f"}})];
        Conversation { tools, choice, ..Conversation::default() }
    }

    /// The parts of an answer that comes in pieces of so many characters, neighbours of a kind joined.
    fn parts(template: &str, prompt: &str, choice: ToolChoice, answer: &str, size: usize) -> Vec<Part> {
        taken_apart(template, prompt, choice, answer, size, false)
    }

    fn taken_apart(
        template: &str,
        prompt: &str,
        choice: ToolChoice,
        answer: &str,
        size: usize,
        cut: bool,
    ) -> Vec<Part> {
        let mut reply = Reply::new(Layout::of(Some(template)), &conversation(choice), prompt, false);
        let characters: Vec<char> = answer.chars().collect();
        let mut parts: Vec<Part> =
            characters.chunks(size).flat_map(|piece| reply.push(&piece.iter().collect::<String>())).collect();
        parts.extend(reply.finish(cut));
        parts.into_iter().fold(Vec::new(), |mut joined, part| {
            match (joined.last_mut(), part) {
                (Some(Part::Text(left)), Part::Text(right))
                | (Some(Part::Reasoning(left)), Part::Reasoning(right)) => left.push_str(&right),
                (_, part) => joined.push(part),
            }
            joined
        })
    }

    fn text(text: &str) -> Part {
        Part::Text(text.into())
    }

    fn thought(text: &str) -> Part {
        Part::Reasoning(text.into())
    }

    fn call(name: &str, arguments: &str) -> Part {
        Part::Call(ToolCall { id: String::new(), name: name.into(), arguments: arguments.into() })
    }

    #[test]
    fn answers_are_taken_apart_however_they_come() {
        let cases: Vec<(&str, &str, &str, Vec<Part>)> = vec![
            ("", "", "Hello <think> you", vec![text("Hello <think> you")]),
            (QWEN, "", "<think>\nHm.\n</think>\n\nYes.\n", vec![thought("Hm."), text("Yes.")]),
            (QWEN, "x<think>\n", "Hm. 1 < 2\n</think>\n\nYes.", vec![thought("Hm. 1 < 2"), text("Yes.")]),
            (QWEN, "", "No <think> here", vec![text("No <think> here")]),
            (QWEN, "<think>", "cut off", vec![thought("cut off")]),
            (
                QWEN,
                "",
                "Let me see.\n<tool_call>\n{\"name\": \"f\", \"arguments\": {\"a\": 1}}\n</tool_call>\n\
                 <tool_call>{\"name\":\"f\",\"arguments\":{}}</tool_call>",
                vec![text("Let me see."), call("f", "{\"a\":1}"), call("f", "{}")],
            ),
            (
                QWEN,
                "",
                "<think>call it</think><tool_call>{\"name\":\"f\",\"arguments\":{}}</tool_call>",
                vec![thought("call it"), call("f", "{}")],
            ),
            (
                QWEN,
                "",
                "<tool_call>\n<function=f>\n<parameter=city>\nLeón\n</parameter>\n<parameter=n>\n3\n</parameter>\n</function>\n</tool_call>",
                vec![call("f", "{\"city\":\"León\",\"n\":3}")],
            ),
            (QWEN, "", "<tool_call>not json</tool_call> ok", vec![text("<tool_call>not json</tool_call>ok")]),
            (
                DEEPSEEK,
                "",
                "ok<｜tool▁calls▁begin｜><｜tool▁call▁begin｜>function<｜tool▁sep｜>f\n```json\n{\"a\": \"b\"}\n```<｜tool▁call▁end｜><｜tool▁calls▁end｜>",
                vec![text("ok"), call("f", "{\"a\":\"b\"}")],
            ),
            (
                KIMI,
                "",
                "<|tool_calls_section_begin|><|tool_call_begin|>functions.f:0<|tool_call_argument_begin|>{\"a\":2}<|tool_call_end|><|tool_calls_section_end|>",
                vec![call("f", "{\"a\":2}")],
            ),
            (
                MISTRAL,
                "",
                "[TOOL_CALLS][{\"name\":\"f\",\"arguments\":{\"a\":3}}]",
                vec![call("f", "{\"a\":3}")],
            ),
            (MISTRAL, "", "[TOOL_CALLS]f[ARGS]{\"a\":4}", vec![call("f", "{\"a\":4}")]),
            (LLAMA, "", "{\"name\": \"f\", \"parameters\": {\"a\": 5}}", vec![call("f", "{\"a\":5}")]),
            (LLAMA, "", "{\"no\": \"call\"}", vec![text("{\"no\": \"call\"}")]),
            (LLAMA, "", "plain", vec![text("plain")]),
        ];
        for (template, prompt, answer, expected) in cases {
            for size in [1, 2, 3, 7, 1000] {
                let seen = parts(template, prompt, ToolChoice::Auto, answer, size);
                let trim = |part: Part| match part {
                    Part::Text(text) => Part::Text(text.trim_end().into()),
                    other => other,
                };
                assert_eq!(seen.into_iter().map(trim).collect::<Vec<_>>(), expected, "{answer:?} by {size}");
            }
        }
    }

    #[test]
    fn an_answer_that_has_to_be_a_call_is_one() {
        let answer = "{\"name\":\"f\",\"arguments\":{\"a\":[1,2]}}";
        let expected = vec![call("f", "{\"a\":[1,2]}")];
        assert_eq!(parts(QWEN, "<think>\n", ToolChoice::Required, answer, 4), expected);
    }

    #[test]
    fn a_call_that_a_limit_cuts_off_is_no_text() {
        let whole = "<tool_call>{\"name\":\"f\",\"arguments\":{\"a\":1}}</tool_call>";
        let bare = "{\"name\": \"f\", \"argum";
        let cases: Vec<(&str, ToolChoice, String, Vec<Part>)> = vec![
            (QWEN, ToolChoice::Auto, format!("ok {}", &whole[..20]), vec![text("ok")]),
            (QWEN, ToolChoice::Auto, format!("ok {}", &whole[..6]), vec![text("ok")]),
            (QWEN, ToolChoice::Auto, whole[..6].to_owned(), vec![]),
            (QWEN, ToolChoice::Auto, [whole, &whole[..30]].concat(), vec![call("f", "{\"a\":1}")]),
            // Whole but for the mark that closes it.
            (QWEN, ToolChoice::Auto, whole[..whole.len() - 3].to_owned(), vec![]),
            (QWEN, ToolChoice::Required, bare.to_owned(), vec![]),
            (QWEN, ToolChoice::Required, "{\"na".to_owned(), vec![]),
            (LLAMA, ToolChoice::Auto, bare.to_owned(), vec![]),
            (LLAMA, ToolChoice::Auto, "{\"type\": \"function\", \"na".to_owned(), vec![]),
            (LLAMA, ToolChoice::Auto, "{\"no\": \"ca".to_owned(), vec![text("{\"no\": \"ca")]),
            (MISTRAL, ToolChoice::Auto, "[TOOL_CALLS][{\"name\":".to_owned(), vec![]),
            (QWEN, ToolChoice::Never, whole[..20].to_owned(), vec![text(&whole[..20])]),
            (QWEN, ToolChoice::Auto, "1 < 2".to_owned(), vec![text("1 < 2")]),
        ];
        for (template, choice, answer, expected) in cases {
            for size in [1, 4, 1000] {
                let seen = taken_apart(template, "", choice.clone(), &answer, size, true);
                assert_eq!(seen, expected, "{answer:?} by {size}");
            }
        }
        // Without a limit it was the model's own: nothing of it is lost.
        assert_eq!(parts(QWEN, "", ToolChoice::Auto, "ok <tool", 4), vec![text("ok <tool")]);
    }

    #[test]
    fn a_turn_that_goes_on_keeps_its_spaces_and_begins_no_thought() {
        let mut reply =
            Reply::new(Layout::of(Some(QWEN)), &conversation(ToolChoice::Auto), "The sum is", true);
        let mut parts = reply.push(" <think> four");
        parts.extend(reply.finish(false));
        assert_eq!(parts, [text(" <think> four")]);
    }

    #[test]
    fn without_tools_nothing_is_a_call() {
        let answer = "<tool_call>{\"name\":\"f\",\"arguments\":{}}</tool_call>";
        assert_eq!(parts(QWEN, "", ToolChoice::Never, answer, 5), vec![text(answer)]);
    }

    #[test]
    fn a_prompt_that_opens_reasoning_can_be_closed() {
        let layout = Layout::of(Some(QWEN));
        assert!(layout.end_of_reasoning("…<think>\n").is_some_and(|end| end.contains("</think>")));
        assert_eq!(layout.end_of_reasoning("…assistant\n"), None);
        assert_eq!(Layout::of(Some("")).end_of_reasoning("<think>"), None);
    }
}
