"""The rules of texts: what a rule is, what it knows of the recording, and how rules are applied to a text."""

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from mulan.data.text import MAX_CHARACTERS, is_blank
from mulan.preparation.texts.report import FilterReport


@dataclass(frozen=True, kw_only=True)
class TextContext:
    """What rules know besides the text itself."""

    artist: str = ""
    """Artist of the recording; empty if unknown."""
    channel: str = ""
    """Channel or album of the recording; empty if unknown."""
    max_words: int = 24
    """Maximum number of words of a text."""
    split_sentences: bool = False
    """Whether long-form texts of every length are split into sentences, not only those that are too long."""
    is_long_form: bool = False
    """Whether the text is a long-form one: its lines have a meaning, and it is cut instead of removed if too long."""


@dataclass(frozen=True)
class Rule:
    """A rule that changes, splits or removes single texts. It returns a text that it does not concern unchanged."""

    name: str
    """Name by which ``text.off`` switches the rule off, and under which a report counts what it did."""
    description: str
    """What the rule does, in a sentence."""
    apply: Callable[[str, TextContext], Sequence[str]]
    """Returns what remains of a text: the text itself, another one, several, or none."""


def apply_rules(text: str, rules: Sequence[Rule], context: TextContext, report: FilterReport) -> list[str]:
    """Applies rules in order to a text, and again to what remains of it, until no rule changes anything.

    Applying the rules to the result therefore changes nothing. A rule that leaves a blank text removes it. Only the
    first :data:`mulan.data.text.MAX_CHARACTERS` characters are read, as by tokenizers.

    Args:
        text: Text that is neither blank nor has lone surrogates.
        report: Report in which each rule counts the text at most once as seen and once as changed.
    """
    reached = 0
    changed: set[str] = set()
    settled: list[str] = []
    waiting = [text[:MAX_CHARACTERS]]
    while waiting:
        part = before = waiting.pop()
        for index, rule in enumerate(rules):
            reached = max(reached, index + 1)
            results = rule.apply(part, context)
            if len(results) == 1 and results[0] == part:
                continue
            remaining = [result for result in results if not is_blank(result)]
            report.sample(rule.name, part, remaining)
            if not remaining:
                report.of(rule.name).removed += 1
                break
            changed.add(rule.name)
            part, *others = remaining
            waiting += reversed(others)
        else:
            (settled if part == before else waiting).append(part)
    for rule in rules[:reached]:
        counts = report.of(rule.name)
        counts.texts += 1
        counts.changed += rule.name in changed
    return settled


def words(listed: str) -> frozenset[str]:
    """Returns the words of a list that is written with spaces."""
    return frozenset(listed.split())


_EMPTY_BRACKETS = re.compile(r"\(\s*\)|\[\s*\]|\{\s*\}|【\s*】")
_SPACES = re.compile(r"[^\S\n]+")
_SEPARATORS = re.compile(r"( [-|•·/~])(?: ?[-|•·/~,:](?= |$))+")
_SPACE_BEFORE_PUNCTUATION = re.compile(r" +([,.!?;])(?= |$)", re.MULTILINE)
_EDGES = " -|:;,/•·~_+*>=&"


def tidied(text: str) -> str:
    """Returns a text after a rule has removed a part of it, without the brackets and separators that enclosed it."""
    while (shorter := _EMPTY_BRACKETS.sub(" ", text)) != text:
        text = shorter
    text = _SPACE_BEFORE_PUNCTUATION.sub(r"\1", _SEPARATORS.sub(r"\1", _SPACES.sub(" ", text)))
    return "\n".join(line for line in (line.strip(_EDGES) for line in text.split("\n")) if line)


def without(pattern: re.Pattern[str], text: str, replacement: str = " ") -> str:
    """Returns a text in which the matches of a pattern are replaced; the same text if there are none."""
    replaced, count = pattern.subn(replacement, text)
    return tidied(replaced) if count else text
