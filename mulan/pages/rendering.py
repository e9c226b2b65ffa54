"""Rendering of HTML pages. Those that are files contain their styles, figures and sounds, and fetch nothing."""

import base64
import functools
from collections.abc import Callable, Mapping
from importlib import resources
from typing import Any

import jinja2
from markupsafe import Markup

Filters = Mapping[str, Callable[..., Any]]


def render(package: str, template: str, filters: Filters, **values: Any) -> str:
    """Renders a page. All values are escaped, and a value that the template names must be given.

    The page can be encoded as UTF-8: lone surrogates, which texts from JSON may contain, are written as escapes.

    Args:
        package: Package that contains the template.
        template: File name of the template, in which ``style`` is the common style sheet. It may include and import
            others of its package by their file names.
        filters: Filters of the template by name, besides those of Jinja.
        values: Values by name.
    """
    environment = _environment(package, tuple(filters.items()))
    page = environment.get_template(template).render(values)
    return page.encode(errors="backslashreplace").decode()


@functools.lru_cache(maxsize=8)  # a server renders the same templates again and again, and compiling them takes longest
def _environment(package: str, filters: tuple[tuple[str, Callable[..., Any]], ...]) -> jinja2.Environment:
    files = resources.files(package)
    environment = jinja2.Environment(
        loader=jinja2.FunctionLoader(lambda name: files.joinpath(name).read_text(encoding="utf-8")),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
    )
    environment.filters |= dict(filters)
    style = resources.files("mulan.pages").joinpath("style.css").read_text(encoding="utf-8")
    environment.globals["style"] = Markup(style)
    return environment


def data_uri(content: bytes, media_type: str) -> str:
    """Returns the address of content that a page contains itself."""
    return f"data:{media_type};base64,{base64.b64encode(content).decode()}"
