"""Byte-level BPE as llama.cpp's tokenizer "gpt2" with pre-tokenizer "gpt-2" understands it."""

import re
from collections import Counter, defaultdict

START, END, PAD = "<|im_start|>", "<|im_end|>", "<|pad|>"
SPECIAL = [START, END, PAD]

# The pre-tokenizer's expression without \p classes, which Python's re does not have.
PIECES = re.compile(r"'s|'t|'re|'ve|'m|'ll|'d| ?[^\W\d_]+| ?\d+| ?(?:[^\s\w]|_)+|\s+(?!\S)|\s+")


def byte_alphabet():
    """GPT-2's printable character for each byte."""
    plain = [*range(33, 127), *range(161, 173), *range(174, 256)]
    table = {byte: chr(byte) for byte in plain}
    for extra, byte in enumerate(b for b in range(256) if b not in table):
        table[byte] = chr(256 + extra)
    return table


ALPHABET = byte_alphabet()
BYTES = {character: byte for byte, character in ALPHABET.items()}


def spell(piece):
    return [ALPHABET[byte] for byte in piece.encode()]


class Tokenizer:
    """A vocabulary: special tokens, the 256 bytes, then one token per merge."""

    def __init__(self, merges):
        self.merges = merges
        self.tokens = SPECIAL + [ALPHABET[byte] for byte in range(256)] + [a + b for a, b in merges]
        self.ids = {token: index for index, token in enumerate(self.tokens)}
        self.ranks = {pair: rank for rank, pair in enumerate(merges)}
        self.known = {}

    def piece(self, text):
        if text not in self.known:
            symbols = spell(text)
            while len(symbols) > 1:
                best = min(zip(symbols, symbols[1:]), key=lambda pair: self.ranks.get(pair, 1 << 30))
                if best not in self.ranks:
                    break
                symbols = join(symbols, best)
            self.known[text] = [self.ids[symbol] for symbol in symbols]
        return self.known[text]

    def encode(self, text):
        return [token for piece in PIECES.findall(text) for token in self.piece(piece)]

    def decode(self, tokens):
        spelled = "".join(self.tokens[token] for token in tokens if token >= len(SPECIAL))
        return bytes(BYTES[character] for character in spelled).decode(errors="replace")


def join(symbols, pair):
    joined, index = [], 0
    while index < len(symbols):
        if tuple(symbols[index : index + 2]) == pair:
            joined.append(symbols[index] + symbols[index + 1])
            index += 2
        else:
            joined.append(symbols[index])
            index += 1
    return joined


def learn(texts, size):
    """Learns merges until the vocabulary has `size` tokens. Ties go to the smaller pair: repeatable."""
    counts = Counter(piece for text in texts for piece in PIECES.findall(text))
    words = {piece: spell(piece) for piece in counts}
    pairs, where = Counter(), defaultdict(set)
    for piece, symbols in words.items():
        for pair in zip(symbols, symbols[1:]):
            pairs[pair] += counts[piece]
            where[pair].add(piece)
    merges = []
    while len(merges) < size - 256 - len(SPECIAL) and pairs:
        best = max(pairs, key=lambda pair: (pairs[pair], pair))
        if pairs[best] < 1:
            break
        merges.append(best)
        for piece in sorted(where[best]):
            before, after = words[piece], join(words[piece], best)
            for pair in zip(before, before[1:]):
                pairs[pair] -= counts[piece]
            for pair in zip(after, after[1:]):
                pairs[pair] += counts[piece]
                where[pair].add(piece)
            words[piece] = after
        del pairs[best]
    return Tokenizer(merges)
