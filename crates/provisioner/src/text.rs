//! Text in both languages of the product, with placeholders.

use serde::{Deserialize, Serialize};

/// The same sentence in English and Spanish.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Text {
    /// English.
    pub en: String,
    /// Spanish.
    pub es: String,
}

impl Text {
    /// The same words in both languages, such as a name.
    pub fn same(text: impl Into<String>) -> Self {
        let en = text.into();
        Self { es: en.clone(), en }
    }

    /// One sentence per language.
    pub fn new(en: impl Into<String>, es: impl Into<String>) -> Self {
        Self { en: en.into(), es: es.into() }
    }

    /// Replaces `{name}` by a value, in each language by its own form.
    #[must_use]
    pub fn with(&self, name: &str, value: &Self) -> Self {
        let placeholder = format!("{{{name}}}");
        Self { en: self.en.replace(&placeholder, &value.en), es: self.es.replace(&placeholder, &value.es) }
    }
}

/// An amount of memory for people: `1.9 GiB`, with a comma in Spanish.
pub fn memory_text(bytes: u64) -> Text {
    const MIB: u64 = 1 << 20;
    if bytes < 1 << 30 {
        return Text::same(format!("{} MiB", bytes / MIB));
    }
    let tenths = (bytes * 10 + (1 << 29)) >> 30;
    let (whole, rest) = (tenths / 10, tenths % 10);
    Text::new(format!("{whole}.{rest} GiB"), format!("{whole},{rest} GiB"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn memory_reads_well_in_both_languages() {
        let cases = [
            (512 << 20, "512 MiB", "512 MiB"),
            (2_040_109_465, "1.9 GiB", "1,9 GiB"),
            (16 << 30, "16.0 GiB", "16,0 GiB"),
        ];
        for (bytes, en, es) in cases {
            assert_eq!(memory_text(bytes), Text::new(en, es));
        }
    }

    #[test]
    fn placeholders_take_the_form_of_their_language() {
        let text = Text::new("It has {memory}.", "Tiene {memory}.");
        assert_eq!(
            text.with("memory", &memory_text(3 << 29)),
            Text::new("It has 1.5 GiB.", "Tiene 1,5 GiB.")
        );
    }
}
