"""The tables of ``mulan/recipes/README.md``: the origins of the recipes' values, and measured variants of the demo's.

Written by ``python -m mulan.recipes.table > mulan/recipes/README.md``.
"""

import json
from collections.abc import Iterator, Mapping
from functools import reduce
from pathlib import Path
from typing import Any

from mulan.config.base import Section
from mulan.config.recipe import Recipe
from mulan.recipes.origins.mulan import MULAN
from mulan.recipes.origins.mulap import MULAP
from mulan.recipes.origins.origin import Origin, RecipeOrigins
from mulan.recipes.origins.semisupcon import SEMISUPCON
from mulan.recipes.registry import named_recipes

SECTIONS = (
    ("MuLan", "Huang et al. 2022, [arXiv:2208.12415](https://arxiv.org/abs/2208.12415)", MULAN),
    ("MuLaP", "Manco et al. 2022, [arXiv:2112.04214](https://arxiv.org/abs/2112.04214)", (MULAP,)),
    ("SemiSupCon", "Guinot et al. 2024, [arXiv:2407.13840](https://arxiv.org/abs/2407.13840)", SEMISUPCON),
)
"""Title, paper and recipes of each part."""

HEAD = """# Where the values of the recipes are from

For each value: what the paper of the recipe states, where the value is from, and how it departs from the paper and the
published code of its authors. An empty cell means that the paper states nothing, or that nothing departs. Of whole
sections, 0 and empty values are left out. Fields that are not listed have their default; [config/](../config) describes
them.

At the end stands what [variants of the demo's recipe](#the-demo) score.

This file is written by `python -m mulan.recipes.table > mulan/recipes/README.md`.
"""

VARIANTS = Path(__file__).with_name("demo_variants.json")
"""Report of ``python -m jobs.bench variants``."""

VARIANTS_HEAD = """## The demo

Variants of the recipe `demo`, each trained for {steps} steps of {pairs} pairs, a quarter of its length, with {rounds}
seeds on the corpus of `make demo`, and evaluated on its test split. The recipe was chosen by such scores, so its own
are a little optimistic. Measured by

```sh
{command}
```

Scores are medians over the seeds, with their ranges: ROC-AUC of zero-shot tagging for categories of tags, and recall
and mean average precision of text-to-music retrieval. ▲ (▼): all seeds score above (below) all seeds of the first row.
Of scores that do not differ, one in ten has a mark by chance.
"""

VARIANTS_END = """\
Texts joined from random subsets, and longer training, help by far the most. Such texts are longer, and a step takes 1.3
times as long (0.82 s instead of 0.63 s, one round of `python -m jobs.bench step --recipe demo --data runs/demo/corpus
--steps 8 --rounds 1` with and without `--set data.text_sampling=subset`): `demo` draws one text per pair, as MuLan
does.
"""


def render() -> str:
    """Returns the content of ``mulan/recipes/README.md``."""
    parts = [HEAD]
    for title, paper, recipes in SECTIONS:
        parts.append(f"## {title}\n\n{paper}.\n")
        parts += ["\n".join(_table(origins, named_recipes()[origins.recipe])) for origins in recipes]
    report = json.loads(VARIANTS.read_text(encoding="utf-8"))
    parts += [
        VARIANTS_HEAD.format(command=report["command"], **report["settings"]),
        variants_table(report),
        VARIANTS_END,
    ]
    return "\n".join(parts)


def _table(origins: RecipeOrigins, recipe: Recipe) -> Iterator[str]:
    yield f"### {origins.recipe}\n"
    if origins.note:
        yield f"{origins.note}\n"
    if origins.base:
        yield f"As `{origins.base}`, except:\n"
    yield "| field | value | the paper states | the value is from | departs |"
    yield "|---|---|---|---|---|"
    for origin in origins.origins:
        yield _row(origin, recipe)
    yield ""


def _row(origin: Origin, recipe: Recipe) -> str:
    names = "<br>".join(f"`{field}`" for field in origin.fields)
    values = "<br>".join(_formatted(value_of(recipe, field)) for field in origin.fields)
    return f"| {names} | {values} | {origin.stated} | {origin.origin} | {origin.departure} |"


def variants_table(report: Mapping[str, Any]) -> str:
    """Returns the table of a report of variants (:meth:`mulan.benchmarks.results.Report.to_json`), as Markdown."""
    first, *_ = report["rows"]
    columns = list(first["figures"])
    lines = [f"| variant | settings | {' | '.join(columns)} |", f"|---|---|{'---|' * len(columns)}"]
    for row in report["rows"]:
        settings = "<br>".join(f"`{setting}`" for setting in row["remark"].split())
        scores = " | ".join(_score(row["figures"][column], first["figures"][column]) for column in columns)
        lines.append(f"| {row['name']} | {settings} | {scores} |")
    return "\n".join([*lines, ""])


def _score(figure: Mapping[str, Any], first: Mapping[str, Any]) -> str:
    mark = " ▲" if figure["low"] > first["high"] else " ▼" if figure["high"] < first["low"] else ""
    return f"{figure['median']:.3f}{mark}<br>({figure['low']:.3f} to {figure['high']:.3f})"


def value_of(recipe: Recipe, field: str) -> Any:
    """Returns the value of a field, or of a property of a section, by its dotted path.

    Raises:
        AttributeError: The recipe has no such field.
    """
    return reduce(getattr, field.split("."), recipe)


def _formatted(value: Any) -> str:
    if isinstance(value, Section):
        return ", ".join(f"{name} {_formatted(number)}" for name, number in value if number)
    if isinstance(value, tuple):
        return " ".join(map(_formatted, value))
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, int | float):
        return f"{value:,.12g}"
    return value or "empty"


if __name__ == "__main__":
    print(render(), end="")
