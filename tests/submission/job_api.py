"""Ray's API for jobs with failures that a real head does not have on demand: broken logs, lost jobs, 5xx answers.

Whether a real one behaves like this when nothing fails is tested by tests/cluster/test_submit.py.
"""

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import ray
from aiohttp import web

from tests.submission.loopback import served


@dataclass
class ScriptedJob:
    """A job that prints its pieces of a log and then ends."""

    entrypoint: str
    metadata: dict[str, str]
    runtime_env: dict[str, Any]
    log: list[str]
    status: str = "RUNNING"
    exit_code: int | None = None
    end: tuple[str, int | None] = ("SUCCEEDED", 0)
    """Its status and exit code once its log has been read to the end."""
    waits_for_stop: bool = False
    breaks_after: int | None = None
    """Number of pieces after which the first connection to the log is cut off."""


@dataclass
class JobApi:
    """The state of the API, and what becomes of the jobs that are submitted next."""

    scripts: list[dict[str, Any]] = field(default_factory=list)
    """Fields of the jobs in the order of their submission."""
    jobs: dict[str, ScriptedJob] = field(default_factory=dict)
    packages: dict[str, bytes] = field(default_factory=dict)
    failures: list[int] = field(default_factory=list)
    """Statuses of the next answers about a job."""
    forgets: bool = False
    """Whether all jobs are lost when they are next asked for."""
    lost_answers: int = 0
    """Number of submissions that are accepted and answered by an error."""
    url: str = ""

    def app(self) -> web.Application:
        app = web.Application(client_max_size=2**30)
        app.add_routes(
            [
                web.get("/api/version", self._version),
                web.get("/api/packages/gcs/{name}", self._package),
                web.put("/api/packages/gcs/{name}", self._upload),
                web.post("/api/jobs/", self._submit),
                web.get("/api/jobs/", self._list),
                web.get("/api/jobs/{id}", self._info),
                web.post("/api/jobs/{id}/stop", self._stop),
                web.get("/api/jobs/{id}/logs", self._logs),
                web.get("/api/jobs/{id}/logs/tail", self._tail),
            ]
        )
        return app

    async def _version(self, request: web.Request) -> web.Response:
        return web.json_response({"version": "4", "ray_version": ray.__version__, "ray_commit": ""})

    async def _package(self, request: web.Request) -> web.Response:
        return web.Response(status=200 if request.match_info["name"] in self.packages else 404)

    async def _upload(self, request: web.Request) -> web.Response:
        self.packages[request.match_info["name"]] = await request.read()
        return web.Response()

    async def _submit(self, request: web.Request) -> web.Response:
        body = await request.json()
        name = body["submission_id"]
        if name in self.jobs:
            return web.Response(status=400, text=f"Job with submission_id {name} already exists")
        script = {"log": ["started\n"]} | (self.scripts.pop(0) if self.scripts else {})
        script["log"] = [*script["log"]]
        self.jobs[name] = ScriptedJob(body["entrypoint"], body["metadata"], body["runtime_env"], **script)
        if self.lost_answers:
            self.lost_answers -= 1
            return web.Response(status=500, text="the agent did not answer")
        return web.json_response({"job_id": name, "submission_id": name})

    async def _list(self, request: web.Request) -> web.Response:
        return web.json_response([self._details(name) for name in self.jobs])

    async def _info(self, request: web.Request) -> web.Response:
        if self.forgets:
            self.jobs.clear()
            self.forgets = False
        if self.failures:
            return web.Response(status=self.failures.pop(0), text="Traceback\nfailed on purpose")
        if request.match_info["id"] not in self.jobs:
            return web.Response(status=404, text="Job does not exist")
        return web.json_response(self._details(request.match_info["id"]))

    async def _stop(self, request: web.Request) -> web.Response:
        self.jobs[request.match_info["id"]].status = "STOPPED"
        return web.json_response({"stopped": True})

    async def _logs(self, request: web.Request) -> web.Response:
        return web.json_response({"logs": "".join(self.jobs[request.match_info["id"]].log)})

    async def _tail(self, request: web.Request) -> web.StreamResponse:
        if request.match_info["id"] not in self.jobs:
            return web.Response(status=404)
        job = self.jobs[request.match_info["id"]]
        socket = web.WebSocketResponse()
        await socket.prepare(request)
        for count, piece in enumerate(job.log):
            if count == job.breaks_after:
                job.breaks_after = None
                assert request.transport is not None
                request.transport.abort()
                return socket
            await socket.send_str(piece)
        while job.waits_for_stop and job.status == "RUNNING":
            await asyncio.sleep(0.01)
        if job.status == "RUNNING":
            job.status, job.exit_code = job.end
        return socket

    def _details(self, name: str) -> dict[str, Any]:
        job = self.jobs[name]
        return {
            "type": "SUBMISSION",
            "submission_id": name,
            "status": job.status,
            "entrypoint": job.entrypoint,
            "metadata": job.metadata,
            "driver_exit_code": job.exit_code,
            "message": "the actor died" if job.status == "FAILED" and job.exit_code is None else None,
        }


@contextmanager
def job_api(**state: Any) -> Iterator[JobApi]:
    """Serves the API."""
    api = JobApi(**state)
    with served(api.app()) as url:
        api.url = url
        yield api
