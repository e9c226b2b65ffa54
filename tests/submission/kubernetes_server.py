"""The part of Kubernetes' API that a submission uses, with a KubeRay that runs a scripted job.

The RayJobs that it receives must satisfy KubeRay's schema (tests/golden/rayjob_schema.json).
"""

import asyncio
import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import jsonschema
import yaml
from aiohttp import web

from tests.cluster.kuberay import SCHEMA
from tests.submission.loopback import served

NAMESPACE = "music"
STAMP = "2026-01-02T03:04:05.{:09d}Z"
_RAYJOBS = f"/apis/ray.io/v1/namespaces/{NAMESPACE}/rayjobs"
_CORE = f"/api/v1/namespaces/{NAMESPACE}"


@dataclass
class Attempt:
    """One cluster's attempt at a job: the log of its submitter, and the RayJob's status after it."""

    log: list[str]
    status: dict[str, Any]
    breaks_after: int | None = None
    """Number of lines after which the first connection to the log is cut off."""
    breaks_after_s: float = 0.0
    """Time in seconds before it is cut off."""
    fails_then: list[int] = field(default_factory=list)
    """Statuses of the answers about the RayJob that follow."""
    waits: bool = False
    """Whether the log does not end."""


@dataclass
class KubernetesServer:
    """The objects of a namespace, and the attempts of its next job."""

    attempts: list[Attempt] = field(default_factory=list)
    rayjobs: dict[str, dict[str, Any]] = field(default_factory=dict)
    config_maps: dict[str, dict[str, Any]] = field(default_factory=dict)
    secrets: dict[str, dict[str, Any]] = field(default_factory=dict)
    deleted: list[str] = field(default_factory=list)
    failures: list[int] = field(default_factory=list)
    """Statuses of the next answers about a RayJob."""
    refuses: bool = False
    refuses_objects: bool = False
    """Whether ConfigMaps and secrets are refused."""
    current: int = 0
    """Number of the attempt that is running."""

    def app(self) -> web.Application:
        app = web.Application()
        for plural, objects in (("configmaps", self.config_maps), ("secrets", self.secrets)):
            app.add_routes(_plain_objects(f"{_CORE}/{plural}", objects, self.deleted, lambda: self.refuses_objects))
        app.add_routes(
            [
                web.post(_RAYJOBS, self._create),
                web.get(f"{_RAYJOBS}/{{name}}", self._get),
                web.delete(f"{_RAYJOBS}/{{name}}", self._delete),
                web.get(f"{_CORE}/pods", self._pods),
                web.get(f"{_CORE}/pods/{{name}}/log", self._log),
            ]
        )
        return app

    async def _create(self, request: web.Request) -> web.Response:
        assert request.query["fieldValidation"] == "Strict"
        rayjob = await request.json()
        jsonschema.validate(rayjob, json.loads(SCHEMA.read_text(encoding="utf-8")))
        if self.refuses:
            return _status(403, "rayjobs.ray.io is forbidden: no permission")
        if rayjob["metadata"]["name"] in self.rayjobs:
            return _status(409, f'rayjobs.ray.io "{rayjob["metadata"]["name"]}" already exists')
        rayjob["metadata"]["uid"] = f"uid-{len(self.rayjobs)}"
        self.rayjobs[rayjob["metadata"]["name"]] = rayjob | {"status": {}}
        self.current = 0
        return web.json_response(rayjob, status=201)

    async def _get(self, request: web.Request) -> web.Response:
        if self.failures:
            return _status(self.failures.pop(0), "failed on purpose")
        name = request.match_info["name"]
        if name not in self.rayjobs:
            return _status(404, f'rayjobs.ray.io "{name}" not found')
        return web.json_response(self.rayjobs[name])

    async def _delete(self, request: web.Request) -> web.Response:
        name = request.match_info["name"]
        if self.rayjobs.pop(name, None) is None:
            return _status(404, "not found")
        self.deleted.append(name)
        owned = {"configmap": self.config_maps, "secret": self.secrets}
        for objects in owned.values():  # as Kubernetes collects what belongs to nothing
            for other, each in [*objects.items()]:
                if name in [owner["name"] for owner in each["metadata"].get("ownerReferences", [])]:
                    del objects[other]
        return _status(200, "")

    async def _pods(self, request: web.Request) -> web.Response:
        name = request.query["labelSelector"].removeprefix("job-name=")
        assert name in self.rayjobs
        pods = [
            {
                "metadata": {
                    "name": f"{name}-{number}",
                    "uid": f"pod-{number}",
                    "creationTimestamp": f"2026-01-02T03:0{number}:05Z",
                },
                "spec": {"containers": [{"name": "ray-job-submitter"}]},
                "status": {"phase": "Running" if number == self.current else "Succeeded"},
            }
            for number in range(min(self.current + 1, len(self.attempts)))
        ]
        return web.json_response({"apiVersion": "v1", "kind": "PodList", "items": pods})

    async def _log(self, request: web.Request) -> web.StreamResponse:
        assert request.query["follow"] == request.query["timestamps"] == "true"
        name, _, number = request.match_info["name"].rpartition("-")
        attempt = self.attempts[int(number)]
        answer = web.StreamResponse()
        await answer.prepare(request)
        for count, line in enumerate(attempt.log):
            if count == attempt.breaks_after:
                attempt.breaks_after = None
                await asyncio.sleep(attempt.breaks_after_s)
                self.failures += attempt.fails_then
                assert request.transport is not None
                request.transport.abort()
                return answer
            await answer.write(f"{STAMP.format(count + 1)} {line}\n".encode())
        while attempt.waits and name in self.rayjobs:
            await asyncio.sleep(0.01)
        if name in self.rayjobs:
            self.rayjobs[name]["status"] = attempt.status
            if int(number) == self.current:
                self.current += 1
        await answer.write_eof()
        return answer


def _plain_objects(
    path: str, objects: dict[str, dict[str, Any]], deleted: list[str], refused: Callable[[], bool]
) -> list[web.RouteDef]:
    async def create(request: web.Request) -> web.Response:
        body = await request.json()
        if refused():
            return _status(403, f"{path.rpartition('/')[2]} is forbidden: no permission")
        if body["metadata"]["name"] in objects:
            return _status(409, f'"{body["metadata"]["name"]}" already exists')
        objects[body["metadata"]["name"]] = body
        return web.json_response(body, status=201)

    async def delete(request: web.Request) -> web.Response:
        if objects.pop(request.match_info["name"], None) is None:
            return _status(404, "not found")
        deleted.append(request.match_info["name"])
        return _status(200, "")

    return [
        web.post(path, create),
        web.delete(f"{path}/{{name}}", delete),
    ]


def _status(code: int, message: str) -> web.Response:
    return web.json_response({"kind": "Status", "apiVersion": "v1", "message": message, "code": code}, status=code)


@contextmanager
def kubernetes_server(folder: Path, **state: Any) -> Iterator[tuple[KubernetesServer, str]]:
    """Serves the API; yields it, and the path of a configuration that names it."""
    server = KubernetesServer(**state)
    with served(server.app()) as url:
        named = {"name": "here"}
        config = {
            "apiVersion": "v1",
            "kind": "Config",
            "current-context": "here",
            "clusters": [named | {"cluster": {"server": url}}],
            "users": [named | {"user": {}}],
            "contexts": [named | {"context": {"cluster": "here", "user": "here"}}],
        }
        file = folder / "kubeconfig"
        file.write_text(yaml.safe_dump(config))
        yield server, str(file)
