"""The filters of a recording's texts (MuLan §3.4): rules, playlists, and the texts as they were found."""

from collections import Counter
from collections.abc import Mapping, Sequence

from mulan.config.sections import STORED_SOURCES, StoredSource
from mulan.data.text import is_blank, is_unicode
from mulan.preparation.found import FoundRecording
from mulan.preparation.settings import TextConfig
from mulan.preparation.texts.channel_texts import ChannelTexts
from mulan.preparation.texts.languages import LanguageRule
from mulan.preparation.texts.limits import script_rule
from mulan.preparation.texts.playlists import PlaylistTitles
from mulan.preparation.texts.report import FilterReport
from mulan.preparation.texts.rule import Rule, TextContext, apply_rules
from mulan.preparation.texts.rules import (
    CHANNEL,
    FURTHER_RULES,
    LANGUAGES,
    LONG_FORM,
    REPEATS,
    SCRIPT,
    SHORT_FORM,
)

UNREADABLE = "unreadable"
"""Name in reports of the rule that no setting switches off: corpora contain neither blank texts nor lone surrogates."""
PLAYLISTS = "playlists"
"""Name in reports under which the titles of playlists are counted that were joined to recordings."""


_FORMS: tuple[StoredSource, ...] = ("short_form", "long_form")
_UNFILTERED: Mapping[StoredSource, StoredSource] = {
    "short_form": "short_form_unfiltered",
    "long_form": "long_form_unfiltered",
}


class TextFilters:
    """Filters the texts of recordings by rules, and joins the titles of playlists.

    If :attr:`needs_observation`, every recording must first be passed to :meth:`observe`, always in the same order, so
    that texts are counted by channel. The classifier of long-form texts is applied later, by
    :func:`mulan.preparation.judges.text_judge`.
    """

    def __init__(self, config: TextConfig) -> None:
        """
        Args:
            config: The settings. The table of playlists is read at once.

        Raises:
            SettingsError: ``config.languages`` has a language that cannot be identified.
            SourceError: The table of playlists is missing or damaged.
            StorageError, StoragePermanentError: The table of playlists cannot be read.
        """
        self.config = config
        self.report = FilterReport()
        """What the rules did in :meth:`filtered`."""
        self._short_form = _enabled([*SHORT_FORM, *_rules_of_settings(config)], config)
        self._long_form = _enabled([*LONG_FORM, *_rules_of_settings(config)], config)
        self._playlists = PlaylistTitles.load(config.playlists) if config.playlists else None
        self._channel_texts = ChannelTexts(config.channel_memory_mib) if self.needs_observation else None

    @property
    def needs_observation(self) -> bool:
        """Whether a rule counts texts over all recordings, so that a first pass is needed."""
        return CHANNEL not in self.config.off

    def observe(self, recording: FoundRecording) -> None:
        """Counts the texts of a recording for its channel, after the rules for single texts."""
        if self._channel_texts is not None and recording.channel:
            unused = FilterReport()
            texts = [
                text
                for source in _FORMS
                for text in self._ruled(source, recording, _readable(recording.texts.get(source, ()), unused), unused)
            ]
            self._channel_texts.add(recording.channel, texts)

    def filtered(self, recording: FoundRecording) -> dict[StoredSource, list[str]]:
        """Returns the texts of a recording by source, without empty sources.

        ``short_form`` and ``long_form`` are filtered; the titles of playlists, both found and joined, are filtered like
        short-form texts. With ``config.unfiltered``, the short-form and long-form texts as they were found are added,
        unless the source has its own. Other sources stay. Blank texts and those with lone surrogates are removed from
        all sources.
        """
        found = {source: _readable(texts, self.report) for source, texts in recording.texts.items()}
        texts = dict(found)
        for source in _FORMS:
            ruled = self._ruled(source, recording, found.get(source, ()), self.report)
            texts[source] = self._without_repeats(self._without_boilerplate(recording.channel, ruled))
            if self.config.unfiltered:
                texts.setdefault(_UNFILTERED[source], found.get(source, []))
        titles = [*found.get("playlist", ()), *self._joined_titles(recording)]
        texts["playlist"] = self._without_repeats(self._ruled("playlist", recording, titles, self.report))
        return {source: texts[source] for source in STORED_SOURCES if texts.get(source)}

    def _ruled(
        self, source: StoredSource, recording: FoundRecording, texts: Sequence[str], report: FilterReport
    ) -> list[str]:
        """Returns what the rules for single texts leave of the texts of a source."""
        is_long = source == "long_form"
        rules = self._long_form if is_long else self._short_form
        context = TextContext(
            artist=recording.artist,
            channel=recording.channel,
            max_words=self.config.long_form_max_words if is_long else self.config.short_form_max_words,
            split_sentences=self.config.sentences,
            is_long_form=is_long,
        )
        return [kept for text in texts for kept in apply_rules(text, rules, context, report)]

    def _without_boilerplate(self, channel: str, texts: list[str]) -> list[str]:
        if self._channel_texts is None or not channel:
            return texts
        limit = self.config.max_channel_repeats
        kept = [text for text in texts if self._channel_texts.count(channel, text) <= limit]
        _count_removed(CHANNEL, texts, kept, self.report)
        return kept

    def _without_repeats(self, texts: list[str]) -> list[str]:
        if REPEATS in self.config.off:
            return texts
        first: dict[str, str] = {}
        for text in texts:
            first.setdefault(text.casefold(), text)
        kept = list(first.values())
        _count_removed(REPEATS, texts, kept, self.report)
        return kept

    def _joined_titles(self, recording: FoundRecording) -> list[str]:
        if self._playlists is None:
            return []
        titles = _readable(self._playlists.of(recording), self.report)
        self.report.of(PLAYLISTS).texts += len(titles)
        return titles


def _rules_of_settings(config: TextConfig) -> list[Rule]:
    """Returns the rules that depend on ``config.languages``."""
    if not config.languages:
        return []
    rules = [Rule(SCRIPT, FURTHER_RULES[SCRIPT], script_rule(config.languages))]
    if LANGUAGES not in config.off:  # the identifier takes memory
        rules.append(Rule(LANGUAGES, FURTHER_RULES[LANGUAGES], LanguageRule(config.languages)))
    return rules


def _enabled(rules: Sequence[Rule], config: TextConfig) -> tuple[Rule, ...]:
    return tuple(rule for rule in rules if rule.name not in config.off)


def _readable(texts: Sequence[str], report: FilterReport) -> list[str]:
    kept = [text for text in texts if is_unicode(text) and not is_blank(text)]
    _count_removed(UNREADABLE, texts, kept, report)
    return kept


def _count_removed(rule: str, texts: Sequence[str], kept: Sequence[str], report: FilterReport) -> None:
    """Counts a rule that keeps or removes whole texts. ``kept`` are those of ``texts`` that remain, in their order."""
    counts = report.of(rule)
    counts.texts += len(texts)
    counts.removed += len(texts) - len(kept)
    if len(kept) < len(texts):
        for text in (Counter(texts) - Counter(kept)).elements():
            report.sample(rule, text, [])
