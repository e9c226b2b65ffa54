"""The templates of prompts, for all tags or by category."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol, Self, runtime_checkable

from mulan.data.corpus.metadata import split_tag
from mulan.data.errors import MAX_FAULTS
from mulan.evaluation.errors import EvaluationError

PLACE = "{}"
"""Stands for the text of the tag in a template."""
VERBATIM = (PLACE,)
"""The template of a prompt that is the text of the tag itself (MuLan §4.1.1)."""
_OF_CATEGORY = re.compile(r"([A-Za-z][A-Za-z0-9_-]*)=(.*)", re.DOTALL)


@dataclass(frozen=True)
class PromptTemplates:
    """The templates of prompts, each with ``{}`` in place of the text of a tag. Several make an ensemble."""

    general: tuple[str, ...] = VERBATIM
    """Templates of the tags of all categories that have none of their own."""
    by_category: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    """Templates by category."""

    def __post_init__(self) -> None:
        """
        Raises:
            EvaluationError: There are no templates, or some do not have exactly one ``{}``; names all of them.
        """
        lists = {"": self.general, **self.by_category}
        faults = [f"the category {name} has none" if name else "there are none" for name in lists if not lists[name]]
        everything = [template for templates in lists.values() for template in templates]
        faults += [
            f"{template!r:.80} has {template.count(PLACE) or 'no'} {PLACE}"
            for template in everything
            if template.count(PLACE) != 1
        ]
        if faults:
            more = f"; and {len(faults) - MAX_FAULTS} more" if len(faults) > MAX_FAULTS else ""
            raise EvaluationError(
                f"prompt templates need one {PLACE} in place of the tag, such as '{PLACE} music': "
                f"{'; '.join(faults[:MAX_FAULTS])}{more}"
            )

    @classmethod
    def parsed(cls, words: Sequence[str]) -> "PromptTemplates":
        """Returns the templates that were named on the command line, as ``[CATEGORY=]TEMPLATE``.

        Raises:
            EvaluationError: Some are wrong; names all of them.

        Example:
            >>> PromptTemplates.parsed(["{} music", "mood=it is {}"]).prompts_of("mood:calm")
            ['it is calm']
        """
        general: list[str] = []
        by_category: dict[str, list[str]] = {}
        for word in words:
            match = _OF_CATEGORY.fullmatch(word)
            templates = by_category.setdefault(match[1], []) if match else general
            templates.append(match[2] if match else word)
        return cls(tuple(general) or VERBATIM, {name: tuple(templates) for name, templates in by_category.items()})

    def of(self, category: str) -> tuple[str, ...]:
        """Returns the templates of the tags of a category."""
        return self.by_category.get(category, self.general)

    def prompts_of(self, tag: str) -> list[str]:
        """Returns the prompts of a tag, ``category:text``."""
        category, text = split_tag(tag)
        return [template.replace(PLACE, text) for template in self.of(category)]


TAGS_ALONE = PromptTemplates()
"""The texts of the tags as prompts, as in MuLan §4.1.1."""


@runtime_checkable
class PromptedProtocol(Protocol):
    """A protocol that embeds prompts of tags."""

    def prompted(self, templates: PromptTemplates) -> Self:
        """Returns the protocol with these templates."""
