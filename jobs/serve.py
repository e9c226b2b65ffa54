"""Search an index of music in a browser, or through an API: python -m jobs.serve --index URI [--model URI] [--port N]

Starts a Ray of its own, unless RAY_ADDRESS names a cluster, and serves until it is interrupted.
"""

import argparse
import os
import re
import signal
import socket

from jobs import arguments
from jobs.arguments import CONSOLE
from mulan.config.errors import MulanError
from mulan.config.sections import ScaleConfig
from mulan.launch.cluster import connect, local_resources, started_ray
from mulan.search.manifest import IndexManifest
from mulan.search.model_spec import check_model_folder, query_model
from mulan.serving.settings import ServerSettings
from mulan.storage import filesystem

TOKEN_VARIABLE = "MULAN_SEARCH_TOKEN"
_TOKEN = re.compile(r"[A-Za-z0-9._~+/=-]{8,}")
"""A token that can be sent in a header as it is (RFC 6750 §2.1)."""
LOOPBACK = ("127.0.0.1", "::1", "localhost")
DEFAULT_PORT = 8000


class ServingRefused(MulanError, ValueError):
    """The server cannot be started with these arguments."""


def main() -> None:
    parser = argparse.ArgumentParser(prog="jobs.serve", description=__doc__.split("\n")[0])
    _add_arguments(parser)
    args = parser.parse_args()
    settings = _settings(args)
    _check_free(args.host, args.port)
    if args.min_replicas > args.max_replicas:
        raise ServingRefused(f"--min-replicas {args.min_replicas} is more than --max-replicas {args.max_replicas}")
    check_model_folder(settings.model, IndexManifest.read(settings.index_uri), settings.index_uri)
    scale = ScaleConfig(use_gpu=args.use_gpu, data_cpus=args.max_replicas)
    _check_gpus(scale, args.min_replicas)
    connect(scale)
    from mulan.serving.deployment import check_no_server, start_serving, stop_serving

    check_no_server()
    try:
        start_serving(
            settings, host=args.host, port=args.port, min_replicas=args.min_replicas, max_replicas=args.max_replicas
        )
        _announce(args, settings)
        signal.pause()
    finally:
        if not started_ray():  # on a cluster that stays
            stop_serving()


def _announce(args: argparse.Namespace, settings: ServerSettings) -> None:
    name = f"[{args.host}]" if ":" in args.host else args.host
    CONSOLE.print(f"search: http://{name}:{args.port}/  (API: /docs; Ctrl+C ends it)", soft_wrap=True)
    if args.host not in LOOPBACK and not settings.token:
        CONSOLE.print(
            f"anybody who reaches this machine can search and hear the collection; {TOKEN_VARIABLE} sets a token",
            soft_wrap=True,
        )


def _add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--index", metavar="URI", required=True, help="folder that jobs.index has written")
    parser.add_argument(
        "--model", metavar="[KIND=]URI", help="folder of the model (default: where it was when it embedded)"
    )
    parser.add_argument(
        "--host", default=LOOPBACK[0], help="address to listen on; 0.0.0.0 for all (default: %(default)s, this machine)"
    )
    parser.add_argument("--port", type=_port, default=DEFAULT_PORT, help="port to listen on (default: %(default)s)")
    parser.add_argument(
        "--host-name",
        metavar="NAME",
        action="append",
        default=[],
        help="name by which clients may call the server too, such as that of a proxy; may be repeated",
    )
    parser.add_argument(
        "--min-replicas",
        metavar="N",
        type=arguments.positive,
        default=1,
        help="minimum number of processes (default: %(default)s)",
    )
    parser.add_argument(
        "--max-replicas",
        metavar="N",
        type=arguments.positive,
        default=max(1, os.cpu_count() or 1),
        help="maximum number of processes, which are started as requests need them (default: the number of CPUs)",
    )
    parser.add_argument("--use-gpu", action="store_true", help="let each process compute on a GPU")


def _port(text: str) -> int:
    value = int(text)  # argparse reports a ValueError
    if not 1 <= value <= 65535:
        raise argparse.ArgumentTypeError(f"{value} is not from 1 to 65535")
    return value


def _settings(args: argparse.Namespace) -> ServerSettings:
    """Returns the settings of the server, after the index has been found."""
    index_uri = filesystem.absolute(arguments.checked("--index", args.index) or "")
    manifest = IndexManifest.read(index_uri)
    is_local, token = args.host in LOOPBACK, os.environ.get(TOKEN_VARIABLE, "")
    if token and not _TOKEN.fullmatch(token):
        raise ServingRefused(f"{TOKEN_VARIABLE} must have at least 8 letters, digits, and characters of -._~+/=")
    return ServerSettings(
        index_uri=index_uri,
        model=query_model(args.model, manifest, index_uri),
        use_gpu=args.use_gpu,
        token=token,
        # a page of another host could otherwise make a browser on this machine search and hear the collection
        hosts=(*LOOPBACK, "[::1]", *map(str.lower, args.host_name)) if is_local or args.host_name else (),
    )


def _check_gpus(scale: ScaleConfig, replicas: int) -> None:
    """Checks that this machine has as many GPUs as processes need at least, unless they run on a cluster.

    Raises:
        ServingRefused: It has fewer: the server would wait for them forever.
    """
    if scale.use_gpu and not os.environ.get("RAY_ADDRESS"):
        found = local_resources(scale)["GPU"]
        if found < replicas:
            raise ServingRefused(f"--use-gpu: GPUs are needed: {replicas}; this machine has {found:g}")


def _check_free(host: str, port: int) -> None:
    """Checks that the server can listen.

    Raises:
        ServingRefused: The port is in use, or the address is not one of this machine.
    """
    try:
        family = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0][0]
        with socket.socket(family, socket.SOCK_STREAM) as listener:
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            listener.bind((host, port))
    except OSError as error:
        raise ServingRefused(
            f"cannot listen on {host}, port {port}: {error.strerror}; give another --port or --host"
        ) from error


if __name__ == "__main__":
    arguments.end(main, repeated=f"starts it again, with {TOKEN_VARIABLE} if it was set")
