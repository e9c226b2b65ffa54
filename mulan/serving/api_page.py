"""The page that documents the API of the search server, from the API's own description."""

import json
import re
import shlex
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote, urlencode

import markupsafe
from markupsafe import Markup

from mulan.pages.rendering import Filters, render

Schema = Mapping[str, Any]

_METHODS = ("get", "post", "put", "patch", "delete")
_NO_SCHEMA: Schema = {}
_BOUNDS = {
    "minimum": "at least {}",
    "exclusiveMinimum": "more than {}",
    "maximum": "at most {}",
    "exclusiveMaximum": "less than {}",
    "minLength": "at least {} characters",
    "maxLength": "at most {} characters",
    "minItems": "at least {} items",
    "maxItems": "at most {} items",
    "pattern": "matching {}",
    "default": "{} if absent",
}
"""Keywords of JSON Schema, and how they are said."""


@dataclass(frozen=True)
class ApiField:
    """A parameter of an operation, or a field of an object."""

    name: str
    where: str
    """Where a parameter is given: in the path, the query or a header; empty for fields."""
    kind: str
    """Type, in words."""
    is_required: bool
    bounds: str
    text: str


@dataclass(frozen=True)
class ApiAnswer:
    """An answer to an operation."""

    status: str
    text: str
    kinds: tuple[tuple[str, str], ...]
    """Media types, each with the type of its content in words."""


@dataclass(frozen=True)
class ApiOperation:
    """An operation of the API."""

    method: str
    path: str
    summary: str
    text: str
    parameters: tuple[ApiField, ...]
    body: tuple[tuple[str, str], ...]
    """Media types of the request's body, each with the type of its content in words."""
    answers: tuple[ApiAnswer, ...]
    example: str
    """A command that calls it."""


def render_api_page(openapi: Schema) -> str:
    """Renders the documentation of an API from its OpenAPI description, of version 3."""
    schemas = openapi.get("components", {}).get("schemas", {})
    return render(
        "mulan.serving",
        "api_page.html",
        _FILTERS,
        schemas=schemas,
        title=openapi["info"]["title"],
        version=openapi["info"].get("version", ""),
        text=openapi["info"].get("description", ""),
        operations=list(_operations(openapi)),
        objects={name: (schema.get("description", ""), _fields(schema)) for name, schema in schemas.items()},
    )


def _operations(openapi: Schema) -> Iterator[ApiOperation]:
    for path, item in openapi["paths"].items():
        for method in (method for method in _METHODS if method in item):
            operation = item[method]
            parameters = [*item.get("parameters", []), *operation.get("parameters", [])]
            yield ApiOperation(
                method=method.upper(),
                path=path,
                summary=operation.get("summary", ""),
                text=operation.get("description", ""),
                parameters=tuple(_parameter(each) for each in parameters),
                body=_contents(operation.get("requestBody", {})),
                answers=tuple(
                    ApiAnswer(status, answer.get("description", ""), _contents(answer))
                    for status, answer in operation.get("responses", {}).items()
                ),
                example=_example(openapi, method, path, operation, parameters),
            )


def _parameter(parameter: Schema) -> ApiField:
    schema = parameter.get("schema", _NO_SCHEMA)
    text = parameter.get("description", "") or schema.get("description", "")
    required = parameter.get("required", False)
    return ApiField(parameter["name"], parameter["in"], kind_of(schema), required, bounds_of(schema), text)


def _fields(schema: Schema) -> list[ApiField]:
    required = schema.get("required", ())
    return [
        ApiField(name, "", kind_of(field), name in required, bounds_of(field), field.get("description", ""))
        for name, field in schema.get("properties", {}).items()
    ]


def _contents(holder: Schema) -> tuple[tuple[str, str], ...]:
    contents = holder.get("content", {})
    return tuple((media_type, kind_of(content.get("schema", _NO_SCHEMA))) for media_type, content in contents.items())


def kind_of(schema: Schema) -> str:
    """Returns the type that a schema allows, in words; objects by their names.

    >>> kind_of({"type": "array", "items": {"$ref": "#/components/schemas/Hit"}})
    'list of Hit'
    """
    if "$ref" in schema:
        return str(schema["$ref"]).rpartition("/")[2]
    if "enum" in schema or "const" in schema:
        return " or ".join(json.dumps(value, ensure_ascii=False) for value in schema.get("enum", [schema.get("const")]))
    choices = schema.get("anyOf") or schema.get("oneOf") or schema.get("allOf")
    if choices:
        return " or ".join(dict.fromkeys(kind_of(choice) for choice in choices))
    if schema.get("type") == "array":
        return f"list of {kind_of(schema.get('items', _NO_SCHEMA))}"
    if schema.get("format") == "binary" or "contentMediaType" in schema:
        return "bytes"
    return str(schema.get("type", "anything"))


def bounds_of(schema: Schema) -> str:
    """Returns what a schema demands besides the type, in words.

    >>> bounds_of({"type": "integer", "minimum": 1, "maximum": 100, "default": 20})
    'at least 1, at most 100, 20 if absent'
    """
    said = [
        words.format(_written(schema[name]))
        for name, words in _BOUNDS.items()
        if schema.get(name) not in (None, "", [])
    ]
    # those of the items of a list, and of the alternatives to null
    inner = [schema["items"]] if "items" in schema else schema.get("anyOf", [])
    return ", ".join(
        [*said, *(f"each {words}" if "items" in schema else words for each in inner if (words := bounds_of(each)))]
    )


def _written(value: Any) -> str:
    is_whole = isinstance(value, float) and value.is_integer()  # bounds are given as 100.0, also those of integers
    return json.dumps(int(value) if is_whole else value, ensure_ascii=False)


def _example(openapi: Schema, method: str, path: str, operation: Schema, parameters: list[Schema]) -> str:
    """Returns a command with the examples of the description, or else with names in capitals."""
    server = openapi.get("servers", [{"url": "http://localhost:8000"}])[0]["url"]
    values = {(each["in"], each["name"]): _value_of(each) for each in parameters}
    for (place, name), value in values.items():
        if place == "path":
            path = re.sub(rf"\{{{re.escape(name)}(:\w+)?\}}", quote(str(value), safe=""), path)
    given = [
        (each["name"], values["query", each["name"]])
        for each in parameters
        if each["in"] == "query" and (each.get("required") or _examples(each))
    ]
    url = f"{server}{path}" + (f"?{urlencode(given, errors='backslashreplace')}" if given else "")
    command = ["curl", *(["--request", method.upper()] if method not in ("get", "post") else []), url]
    contents = operation.get("requestBody", {}).get("content", {})
    for media_type, content in list(contents.items())[:1]:
        if media_type == "application/json":
            body = _instance(content.get("schema", _NO_SCHEMA), openapi)
            command += ["--json", json.dumps(body, ensure_ascii=False)]
        else:
            command += ["--header", f"Content-Type: {media_type}", "--data-binary", "@FILE"]
    return shlex.join(command)


def _examples(holder: Schema) -> list[Any]:
    """Returns the examples that a parameter or a schema has."""
    found = [holder["example"]] if "example" in holder else holder.get("examples", [])
    if isinstance(found, Mapping):  # of a parameter: by name
        found = [each["value"] for each in found.values() if "value" in each]
    return list(found) or (_examples(holder["schema"]) if "schema" in holder else [])


def _value_of(parameter: Schema) -> Any:
    examples = _examples(parameter)
    value = examples[0] if examples else str(parameter["name"]).upper()
    return value[0] if isinstance(value, list) and value else value


def _instance(schema: Schema, openapi: Schema) -> Any:
    """Returns an example of what a schema allows, with the required fields and those that have examples."""
    if "$ref" in schema:
        return _instance(openapi["components"]["schemas"][str(schema["$ref"]).rpartition("/")[2]], openapi)
    if examples := _examples(schema):
        return examples[0]
    if schema.get("type") == "object" or "properties" in schema:
        required = schema.get("required", ())
        properties = schema.get("properties", {}).items()
        return {name: _instance(each, openapi) for name, each in properties if name in required or _examples(each)}
    if schema.get("type") == "array":
        return [_instance(schema.get("items", _NO_SCHEMA), openapi)]
    return {"integer": 1, "number": 1.0, "boolean": True}.get(str(schema.get("type")), "TEXT")


def _prose(text: str) -> Markup:
    """Returns escaped text with what is between backticks as code."""
    return Markup(re.sub(r"`+([^`]+)`+", r"<code>\1</code>", str(markupsafe.escape(text))))


def _linked(kind: str, schemas: Schema) -> Markup:
    """Returns a type in words in which the names of objects are links to their fields."""
    words = [
        f'<a href="#object-{markupsafe.escape(word)}">{markupsafe.escape(word)}</a>'
        if word in schemas
        else str(markupsafe.escape(word))
        for word in kind.split(" ")
    ]
    return Markup(" ".join(words))


_FILTERS: Filters = {"prose": _prose, "linked": _linked}
