"""The guide's corpus: what it is asked, what it answers, and how people vary what they type."""

import re
import tomllib
import unicodedata
from pathlib import Path

LANGUAGES = ("en", "es")
HERE = Path(__file__).parent / "corpus"
POLITE = {
    "en": ["please ", "hi, ", "hello, ", "hey, ", "ok, ", "so ", "sorry, ", "can you tell me ", "i have a question: "],
    "es": ["por favor ", "hola, ", "buenas, ", "oye, ", "a ver, ", "perdona, ", "una pregunta: ", "me puedes decir "],
}
TAIL = {"en": [" please", ", please", " thanks", " on this box"], "es": [" por favor", ", por favor", " gracias"]}
SMALL = set("a the an of to my is do it i in on for el la los las de un una mi es que en se lo me con al del".split())


def read(name):
    return tomllib.loads((HERE / f"{name}.toml").read_text(encoding="utf-8"))


def plain(text):
    """Lower case, no accents, no punctuation: what makes two questions the same question."""
    bare = unicodedata.normalize("NFD", text.lower())
    return " ".join(re.findall(r"[a-z0-9]+", "".join(c for c in bare if not unicodedata.combining(c))))


class Corpus:
    """Every topic file's intents, the refusals, and the held-back questions that training never sees."""

    def __init__(self):
        self.words = read("words")
        self.foreign = read("foreign")
        self.intents = {}
        for path in sorted(HERE.glob("topic-*.toml")):
            for name, intent in read(path.stem).items():
                assert name not in self.intents, f"{name} is defined twice"
                self.intents[name] = intent
        self.names = sorted(self.intents) + ["unknown"]
        self.held_back = read("held-back")
        missing = set(self.held_back["known"]) - set(self.intents)
        assert not missing, f"held-back questions for no intent: {sorted(missing)}"
        self.secret = {plain(q["prompt"]) for q in self.questions()}

    def answer(self, name, language):
        return self.foreign["answer"][language] if name == "unknown" else self.intents[name][language]

    def questions(self):
        """The held-back questions: id, prompt, expected intent and language."""
        for name, asked in self.held_back["known"].items():
            for language in LANGUAGES:
                for number, prompt in enumerate(asked.get(language, [])):
                    yield dict(id=f"{name}/{language}/{number}", prompt=prompt, intent=name, language=language)
        for language in LANGUAGES:
            for number, prompt in enumerate(self.held_back["unknown"][language]):
                yield dict(id=f"unknown/{language}/{number}", prompt=prompt, intent="unknown", language=language)

    def expand(self, pattern, language, random, nonsense=0.0):
        """One reading of a pattern: `{slot}` from the word lists, `(a|b)` one of them, `[a]` perhaps."""

        def slot(match):
            if nonsense and random.random() < nonsense:
                return pseudo_word(random)
            return random.choice(self.words[language][match[1]])

        def optional(match):
            return random.choice(match[1].split("|")) if random.random() < 0.5 else ""

        if pattern.startswith("{como} ") and random.random() < 0.35:
            pattern = "cómo < " + pattern.removeprefix("{como} ")
        for _ in range(4):
            pattern = re.sub(r"\{(\w+)\}", slot, pattern)
            pattern = re.sub(r"\[([^\[\]()]*)\]", optional, pattern)
            pattern = re.sub(r"\(([^()\[\]]*)\)", lambda match: random.choice(match[1].split("|")), pattern)
        pattern = re.sub(r"<\s+(\S+)", lambda match: self.first_person(match[1]), pattern)
        return re.sub(r"\s+([?,.])", r"\1", re.sub(r"\s+", " ", pattern)).strip()

    def first_person(self, infinitive):
        """Spanish asks "¿Cómo apago…?" where the patterns have the infinitive."""
        own = infinitive.endswith("rme")
        verb = infinitive.removesuffix("me") if own else infinitive
        if not verb.endswith(("ar", "er", "ir")):
            return infinitive
        return ("me " if own else "") + self.words["irregular"].get(verb, verb[:-2] + "o")

    def question(self, random):
        """A training question: (text, intent, language)."""
        while True:
            language = random.choice(LANGUAGES)
            if random.random() < self.foreign["share"]:
                name = "unknown"
                patterns = self.foreign[language]
                text = self.expand(random.choice(patterns), language, random, nonsense=0.15)
            else:
                name = random.choice(self.names[:-1])
                text = self.expand(random.choice(self.intents[name][f"ask_{language}"]), language, random)
            text = vary(text, language, random)
            if plain(text) and plain(text) not in self.secret:
                return text, name, language


def pseudo_word(random):
    syllables = [random.choice("bcdfghjklmnprstvz") + random.choice("aeiou") + random.choice(["", "", "n", "r", "s"])
                 for _ in range(random.randint(1, 3))]
    return "".join(syllables)


def vary(text, language, random):
    """The same question as hurried, polite or careless people write it."""
    if random.random() < 0.12:
        text = random.choice(POLITE[language]) + text
    if random.random() < 0.06:
        text = text + random.choice(TAIL[language])
    words = text.split()
    if len(words) > 3 and random.random() < 0.2:
        small = [i for i, word in enumerate(words) if word.lower() in SMALL]
        if small:
            del words[random.choice(small)]
    elif len(words) > 6 and random.random() < 0.08:
        del words[random.randrange(len(words))]
    if random.random() < 0.12:
        long = [i for i, word in enumerate(words) if len(word) > 4]
        if long:
            index = random.choice(long)
            words[index] = typo(words[index], random)
    text = " ".join(words)
    if language == "es":
        if random.random() < 0.3:
            text = "".join(c for c in unicodedata.normalize("NFD", text) if c != "\u0301")
            text = unicodedata.normalize("NFC", text)
        end = random.random()
        text = f"¿{text}?" if end < 0.5 else f"{text}?" if end < 0.75 else text
    elif random.random() < 0.65:
        text += "?"
    return text


def typo(word, random):
    at = random.randrange(1, len(word) - 1)
    kind = random.random()
    if kind < 0.35:
        return word[:at] + word[at + 1] + word[at] + word[at + 2 :]
    if kind < 0.7:
        return word[:at] + word[at + 1 :]
    return word[:at] + word[at] + word[at:]
