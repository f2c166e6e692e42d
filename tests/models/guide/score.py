#!/usr/bin/env python3
"""Scores the guide's answers to the held-back questions. Needs nothing but Python 3.11.

    score.py --questions              prints the questions as JSON lines {"id", "prompt"}
    score.py --answers FILE [-v]      reads JSON lines {"id", "text"}; fails below 80 % in any group

An answer is right when it is the one the corpus gives, in the language of the question, up to a
normalised similarity of 0.9. For foreign questions the right answer is the refusal.
"""

import argparse
import difflib
import json
import sys
from collections import defaultdict

from corpus import LANGUAGES, Corpus

SIMILAR = 0.9
REQUIRED = 0.8
GROUPS = {
    ("known", "en"): "held-back paraphrases, English",
    ("known", "es"): "held-back paraphrases, Spanish",
    ("unknown", "en"): "foreign questions refused, English",
    ("unknown", "es"): "foreign questions refused, Spanish",
}


def right(given, expected):
    given, expected = " ".join(given.split()), " ".join(expected.split())
    return difflib.SequenceMatcher(None, given, expected, autojunk=False).ratio() >= SIMILAR


def closest(corpus, given):
    """The intent whose answer this is, for the list of mistakes."""
    for name in corpus.names:
        for language in LANGUAGES:
            if right(given, corpus.answer(name, language)):
                return f"{name}/{language}"
    return f"no answer of the corpus: {given!r}"


def score(corpus, answers, verbose):
    marks = defaultdict(list)
    for asked in corpus.questions():
        group = ("unknown" if asked["intent"] == "unknown" else "known", asked["language"])
        given = answers.get(asked["id"], "")
        ok = right(given, corpus.answer(asked["intent"], asked["language"]))
        marks[group].append(ok)
        if verbose and not ok:
            print(f"  {asked['id']}: {asked['prompt']} -> {closest(corpus, given)}")
    passed = 0
    for group, title in GROUPS.items():
        share = sum(marks[group]) / len(marks[group])
        passed += share >= REQUIRED
        print(f"{title}: {sum(marks[group])} of {len(marks[group])}, {share:.1%}" + (" FAIL" * (share < REQUIRED)))
    print(f"{passed} passed, {len(GROUPS) - passed} failed")
    return passed == len(GROUPS)


def main():
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    what = arguments.add_mutually_exclusive_group(required=True)
    what.add_argument("--questions", action="store_true", help="print the held-back questions")
    what.add_argument("--answers", metavar="FILE", help="score these answers")
    arguments.add_argument("-v", "--verbose", action="store_true", help="list every mistake")
    options = arguments.parse_args()
    corpus = Corpus()
    if options.questions:
        for asked in corpus.questions():
            print(json.dumps({"id": asked["id"], "prompt": asked["prompt"]}, ensure_ascii=False))
        return
    with open(options.answers, encoding="utf-8") as file:
        answers = {line["id"]: line["text"] for line in map(json.loads, filter(str.strip, file))}
    sys.exit(0 if score(corpus, answers, options.verbose) else 1)


if __name__ == "__main__":
    main()
