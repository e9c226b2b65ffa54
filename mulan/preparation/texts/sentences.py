"""The rule that splits long-form texts into sentences."""

import re

from mulan.preparation.texts.rule import TextContext

_END = re.compile(r"(?<=[.!?…])(?<!\.\.)[\"')\]]*\s+(?=[\"'(\[]*[^\Wa-z_])|(?<=[\u3002\uff01\uff1f])\s*|\n+")
_ABBREVIATION = re.compile(
    r"(?:^|[\s(])(?:[A-Za-z]|[A-Za-z]\.[A-Za-z]|approx|ca|dr|etc|feat|ft|jr|mr|mrs|ms|no|nr|op|pt|sr|st|vol|vs)\.$",
    re.IGNORECASE,
)


def sentences_of(text: str) -> list[str]:
    """Returns the sentences of a text, of each line separately."""
    sentences, start = [], 0
    for end in _END.finditer(text):
        sentence = text[start : end.end()].strip()
        is_end = "\n" in end[0] or not _ABBREVIATION.search(text[max(start, end.start() - 20) : end.start()])
        if sentence and is_end:
            sentences.append(sentence)
            start = end.end()
    rest = text[start:].strip()
    return [*sentences, rest] if rest else sentences


def split_sentences(text: str, context: TextContext) -> list[str]:
    """Splits a text with more words than are permitted into its sentences, and joins the lines of any other one.

    With ``context.split_sentences``, texts of every length are split.
    """
    if context.split_sentences or len(text.split()) > context.max_words:
        return sentences_of(text)
    return [" ".join(text.split("\n"))] if "\n" in text else [text]
