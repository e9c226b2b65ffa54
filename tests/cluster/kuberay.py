"""Extracts the part of KubeRay's definition of a RayJob that cluster/rayjob.yaml and jobs.submit use, of 1.4 MB in all.

Run it again for another version of KubeRay, or when they use further fields:

    git clone --depth 1 --branch v1.7.0 https://github.com/ray-project/kuberay /tmp/kuberay
    .venv/bin/python -m tests.cluster.kuberay \\
        /tmp/kuberay/helm-chart/kuberay-operator/crds/ray.io_rayjobs.yaml > tests/golden/rayjob_schema.json
"""

import json
import sys
from pathlib import Path
from typing import Any

import yaml

from mulan.submission.command import Command
from mulan.submission.manifest import made_manifest, with_package, with_variables
from mulan.submission.values import KubeRayValues

Schema = dict[str, Any]

ROOT = Path(__file__).parents[2]
MANIFEST = ROOT / "cluster" / "rayjob.yaml"
SCHEMA = ROOT / "tests" / "golden" / "rayjob_schema.json"
"""The extracted part."""
_CHECKED = ("type", "enum", "required", "pattern", "minimum", "maximum", "minItems", "maxLength", "format", "anyOf")


def pruned(schema: Schema, used: Any) -> Schema:
    """Returns the part of a JSON schema for the fields of a value, which allows no other fields.

    Raises:
        KeyError: The schema lacks a field of the value.
    """
    kept = {name: schema[name] for name in _CHECKED if name in schema}
    if schema.get("x-kubernetes-int-or-string"):
        kept.pop("type", None)
    if schema.get("x-kubernetes-preserve-unknown-fields") and "properties" not in schema:
        return kept
    if isinstance(used, dict) and "properties" in schema:
        kept["properties"] = {name: pruned(schema["properties"][name], value) for name, value in sorted(used.items())}
        kept["additionalProperties"] = False
    elif isinstance(used, dict) and "additionalProperties" in schema:
        kept["additionalProperties"] = pruned(schema["additionalProperties"], next(iter(used.values()), None))
    elif isinstance(used, list) and "items" in schema:
        kept["items"] = pruned(schema["items"], _together(used))
    return kept


def _together(values: list[Any]) -> Any:
    """Returns one value with the fields of all values."""
    if all(isinstance(value, dict) for value in values):
        names = {name for value in values for name in value}
        return {name: _together([value[name] for value in values if name in value]) for name in names}
    if all(isinstance(value, list) for value in values):
        return [item for value in values for item in value]
    return values[0]


def with_everything(manifest: Schema) -> Schema:
    """Returns a manifest with every field that a submission may set."""
    command = Command(("python", "-m", "jobs.train"))
    values = KubeRayValues(image_pull_secrets=("registry",))
    made = made_manifest(manifest, values, command, retries=0, check_first=True)
    return with_variables(with_package(made, "package"), "variables")


def main() -> None:
    definition = yaml.load(Path(sys.argv[1]).read_text(encoding="utf-8"), Loader=yaml.CSafeLoader)
    (schema,) = [v["schema"]["openAPIV3Schema"] for v in definition["spec"]["versions"] if v["name"] == "v1"]
    schema["properties"]["metadata"] = {"type": "object", "additionalProperties": {"type": "string"}}
    manifest = yaml.safe_load(MANIFEST.read_text(encoding="utf-8"))
    print(json.dumps(pruned(schema, _together([manifest, with_everything(manifest)])), indent=1))


if __name__ == "__main__":
    main()
