"""The few calls of Kubernetes' API that a submission needs, by the official client, with time limits."""

import base64
import os
from collections.abc import Callable, Mapping
from contextlib import suppress
from functools import partial
from typing import Any, TypeVar

from urllib3.exceptions import HTTPError

from mulan.config.parsing import parse_json
from mulan.submission.errors import AlreadyExists, ClusterUnreachable, NoSuchJob, SubmissionError
from mulan.submission.manifest import PACKAGE_FILE, Manifest
from mulan.submission.streams import TextStream

try:
    from kubernetes import client, config
except ImportError as error:
    raise SubmissionError(
        ["--to kuberay:NAMESPACE needs the package kubernetes: pip install 'mulan[kubernetes]'"]
    ) from error

_GROUP, _VERSION, _PLURAL = "ray.io", "v1", "rayjobs"
_LIMITED: dict[str, Any] = {"_request_timeout": (10, 30)}
"""The argument of each call with the limits in seconds for connecting, and for an answer."""
_STREAMED: dict[str, Any] = {"_request_timeout": (10, 300), "_preload_content": False}
"""The arguments for a log, which is requested again after 300 s without a line."""

_Result = TypeVar("_Result")


class KubernetesApi:
    """A namespace of a Kubernetes cluster.

    Its methods raise NoSuchJob for objects that do not exist, SubmissionError for what the API refuses, and
    ClusterUnreachable if it does not answer or fails.
    """

    def __init__(self, namespace: str, *, context: str = "") -> None:
        """
        Args:
            namespace: The namespace.
            context: A context of the Kubernetes configuration (``KUBECONFIG``, or ``~/.kube/config``); empty for the
                current one, or for the account of the pod that this process runs in.

        Raises:
            SubmissionError: There is no configuration, or no such context.
        """
        self.namespace = namespace
        try:
            api = client.ApiClient(_configuration(context))
        except Exception as error:  # the client raises errors of its own, of YAML and of plug-ins
            raise SubmissionError(
                [f"Kubernetes is not configured here (KUBECONFIG): {' '.join(str(error).split())}"]
            ) from error
        # generated types: they make every field optional, and do not know streamed logs
        self._core: Any = client.CoreV1Api(api)
        self._objects: Any = client.CustomObjectsApi(api)

    def create_rayjob(self, manifest: Manifest) -> Manifest:
        """Creates a RayJob, of which the API refuses fields that KubeRay does not know, and returns it."""
        return self._call(
            lambda: self._objects.create_namespaced_custom_object(
                *(_GROUP, _VERSION, self.namespace, _PLURAL, manifest),
                field_validation="Strict",
                **_LIMITED,
            ),
            missing=f"namespace {self.namespace} does not exist, or KubeRay is not installed in the cluster",
        )

    def rayjob(self, name: str) -> Manifest:
        """Returns a RayJob with its status."""
        return self._call(
            lambda: self._objects.get_namespaced_custom_object(
                _GROUP, _VERSION, self.namespace, _PLURAL, name, **_LIMITED
            )
        )

    def delete_rayjob(self, name: str) -> None:
        """Asks for the deletion of a RayJob, before which KubeRay stops its job; its cluster is deleted with it."""
        self._call(
            lambda: self._objects.delete_namespaced_custom_object(
                *(_GROUP, _VERSION, self.namespace, _PLURAL, name),
                propagation_policy="Background",
                **_LIMITED,
            )
        )

    def put_package(self, name: str, content: bytes, rayjob: Manifest, *, replace: bool) -> None:
        """Creates a ConfigMap with a package, which Kubernetes deletes with a RayJob.

        Args:
            name: Name of the ConfigMap.
            content: The package.
            rayjob: The RayJob, as the API returns it.
            replace: Whether an existing ConfigMap is replaced; otherwise it is left as it is.
        """
        body = {"binaryData": {PACKAGE_FILE: base64.b64encode(content).decode()}}
        api = self._core
        self._put(api.create_namespaced_config_map, api.delete_namespaced_config_map, name, body, rayjob, replace)

    def put_variables(self, name: str, variables: Mapping[str, str], rayjob: Manifest, *, replace: bool) -> None:
        """Creates a secret with environment variables, as :meth:`put_package` does."""
        body = {"type": "Opaque", "stringData": dict(variables)}
        api = self._core
        self._put(api.create_namespaced_secret, api.delete_namespaced_secret, name, body, rayjob, replace)

    def submitter_pods(self, rayjob: str) -> list[Manifest]:
        """Returns the pods that submit the job and print its log, the oldest first, with name, uid and phase."""
        pods = self._call(
            lambda: self._core.list_namespaced_pod(self.namespace, label_selector=f"job-name={rayjob}", **_LIMITED)
        )
        ordered = sorted(pods.items, key=lambda pod: str(pod.metadata.creation_timestamp))
        return [
            {"name": pod.metadata.name, "uid": pod.metadata.uid, "phase": pod.status.phase or "Pending"}
            for pod in ordered
        ]

    def log(self, pod: str) -> TextStream:
        """Returns the log of a pod from its beginning, each line with its time before it."""

        def read(put: Callable[[str], None]) -> None:
            response = self._core.read_namespaced_pod_log(
                *(pod, self.namespace),
                follow=True,
                timestamps=True,
                **_STREAMED,
            )
            with response:
                for line in response:
                    put(line.decode(errors="replace"))

        return TextStream(read)

    def _put(
        self,
        create: Callable[..., Any],
        delete: Callable[..., Any],
        name: str,
        body: dict[str, Any],
        rayjob: Manifest,
        replace: bool,
    ) -> None:
        owner = {
            **{field: rayjob[field] for field in ("apiVersion", "kind")},
            **{field: rayjob["metadata"][field] for field in ("name", "uid")},
        }
        body = body | {"metadata": {"name": name, "ownerReferences": [owner]}}
        try:
            self._call(partial(create, self.namespace, body, **_LIMITED))
        except AlreadyExists:
            if replace:
                with suppress(NoSuchJob):
                    self._call(partial(delete, name, self.namespace, **_LIMITED))
                self._call(partial(create, self.namespace, body, **_LIMITED))

    def _call(self, call: Callable[[], _Result], *, missing: str = "") -> _Result:
        try:
            return call()
        except client.ApiException as error:
            reason = _reason(error)
            if error.status == 404:
                raise (SubmissionError([f"{missing}: {reason}"]) if missing else NoSuchJob(reason)) from error
            if error.status == 409:
                raise AlreadyExists([f"the API of Kubernetes refuses the request: {reason}"]) from error
            if error.status in (408, 429) or error.status is None or error.status >= 500:
                raise ClusterUnreachable(f"the API of Kubernetes failed: {reason}") from error
            raise SubmissionError([f"the API of Kubernetes refuses the request: {reason}"]) from error
        except (HTTPError, OSError) as error:
            reason = " ".join(str(error).split())
            raise ClusterUnreachable(f"the API of Kubernetes cannot be reached: {reason}") from error


def _configuration(context: str) -> "client.Configuration":
    configuration = client.Configuration()
    loading: Any = config  # its functions have no types
    file = os.environ.get("KUBECONFIG") or os.path.expanduser("~/.kube/config")
    if "KUBERNETES_SERVICE_HOST" in os.environ and not os.path.exists(file):  # in a pod
        loading.load_incluster_config(client_configuration=configuration)
    else:
        loading.load_kube_config(file, context=context or None, client_configuration=configuration)
    return configuration


def _reason(error: "client.ApiException") -> str:
    """Returns the message in an answer of the API, or its status."""
    try:
        message = parse_json(error.body or "")["message"]
    except (ValueError, KeyError, TypeError):
        message = error.reason or "no reason is given"
    return f"{' '.join(str(message).split())} (status {error.status})"
