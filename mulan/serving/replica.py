"""What each process of the server runs."""

import torch

from mulan.serving.app import create_app
from mulan.serving.security import Application
from mulan.serving.service import SearchService
from mulan.serving.settings import CPUS, ServerSettings


def application(settings: ServerSettings) -> Application:
    """Makes the application of a process, which computes with as many threads as it has CPUs."""
    torch.set_num_threads(CPUS)
    return create_app(SearchService(settings))
