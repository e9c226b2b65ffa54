"""Tests the documentation of the API, from descriptions such as FastAPI makes."""

import copy
from typing import Any

import pytest
from pydantic import TypeAdapter

from mulan.serving.api_page import bounds_of, kind_of, render_api_page
from mulan.serving.schema import Fault, Hits
from tests.serving.test_page import Elements


def reference(name: str) -> dict[str, Any]:
    return {"$ref": f"#/components/schemas/{name}"}


def content(name: str) -> dict[str, Any]:
    return {"application/json": {"schema": reference(name)}}


def description() -> dict[str, Any]:
    """Returns a description with each kind of parameter and body."""
    hits = TypeAdapter(Hits).json_schema(ref_template="#/components/schemas/{model}")
    schemas = hits.pop("$defs") | {"Hits": hits, "Fault": Fault.model_json_schema()}
    schemas["Search"] = {
        "description": "A search.",
        "required": ["limit"],
        "properties": {
            "texts": {
                "type": "array",
                "items": {"type": "string", "maxLength": 200},
                "maxItems": 8,
                "examples": [["it's calm"]],
            },
            "like": {"anyOf": [{"type": "string"}, {"type": "null"}]},
            "limit": {"type": "integer", "minimum": 1, "maximum": 100.0, "default": 20},
        },
    }
    wanted = {"name": "q", "in": "query", "schema": {"type": "string", "examples": ["calm & piano"]}}
    recording_id = {"name": "recording_id", "in": "path", "required": True, "schema": {"type": "string"}}
    sound = {
        "required": True,
        "content": {"application/octet-stream": {"schema": {"type": "string", "format": "binary"}}},
    }
    answers = {
        "200": {"description": "What was found.", "content": content("Hits")},
        "503": {"description": "Too many searches at once.", "content": content("Fault")},
    }
    return {
        "info": {"title": "Music search", "version": "1", "description": "Tags are `category:text`."},
        "paths": {
            "/api/search": {
                "get": {"summary": "Search", "parameters": [wanted], "responses": answers},
                "post": {"summary": "Search", "requestBody": {"content": content("Search")}, "responses": answers},
            },
            "/api/sound": {"post": {"description": "By a sound.", "requestBody": sound, "responses": answers}},
            "/api/recordings/{recording_id}": {"get": {"parameters": [recording_id], "responses": {}}},
        },
        "components": {"schemas": schemas},
    }


def test_every_operation_has_a_command_that_calls_it() -> None:
    text = Elements(render_api_page(description())).text
    body = """'{"texts": ["it'"'"'s calm"], "limit": 1}'"""
    for command in (
        "curl 'http://localhost:8000/api/search?q=calm+%26+piano'",
        f"curl http://localhost:8000/api/search --json {body}",
        "curl http://localhost:8000/api/sound --header 'Content-Type: application/octet-stream' --data-binary @FILE",
        "curl http://localhost:8000/api/recordings/RECORDING_ID",
    ):
        assert command in text


def test_answers_and_their_fields_are_described() -> None:
    elements = Elements(render_api_page(description()))
    for text in ("Too many searches at once.", "The recordings found, the best one first.", "path, required", "503"):
        assert text in elements.text
    assert {"href": "#object-Hits"} in elements.of("a") and {"id": "object-Hits"} in elements.of("h3")
    assert "<code>category:text</code>" in render_api_page(description())


def test_the_page_needs_no_script_and_no_other_host() -> None:
    elements = Elements(render_api_page(description()))
    assert elements.of("script", "style") == []
    addresses = [each[name] for _, each in elements.found for name in ("href", "src") if name in each]
    assert all(address.startswith(("/", "#")) for address in addresses)
    links = {address[1:] for address in addresses if address.startswith("#")}
    assert links <= {each["id"] for _, each in elements.found if "id" in each}


def test_descriptions_are_escaped() -> None:
    hostile = copy.deepcopy(description())
    hostile["info"]["title"] = hostile["paths"]["/api/sound"]["post"]["description"] = "`<b>`</script>"
    hostile["components"]["schemas"]["Hit"]["properties"]["<b>"] = {"enum": ["<b>"], "default": "<b>"}
    assert Elements(render_api_page(hostile)).of("b", "script") == []


@pytest.mark.parametrize(
    ("schema", "kind"),
    [
        ({}, "anything"),
        ({"type": "string"}, "string"),
        ({"anyOf": [{"type": "string"}, {"type": "null"}]}, "string or null"),
        ({"enum": ["a", "b"]}, '"a" or "b"'),
        ({"const": 1}, "1"),
        ({"type": "array", "items": reference("Hit")}, "list of Hit"),
        ({"type": "string", "contentMediaType": "application/octet-stream"}, "bytes"),
    ],
)
def test_types_in_words(schema: dict[str, Any], kind: str) -> None:
    assert kind_of(schema) == kind


def test_bounds_in_words() -> None:
    search = description()["components"]["schemas"]["Search"]["properties"]
    assert bounds_of(search["limit"]) == "at least 1, at most 100, 20 if absent"
    assert bounds_of(search["texts"]) == "at most 8 items, each at most 200 characters"
    assert bounds_of(search["like"]) == ""
    assert bounds_of({"anyOf": [{"type": "number", "exclusiveMinimum": 0.5}, {"type": "null"}]}) == "more than 0.5"
