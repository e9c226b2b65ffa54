"""The clouds that Ray's cluster launcher knows."""

from ray.autoscaler._private.providers import _NODE_PROVIDERS

CLOUDS = tuple(sorted(_NODE_PROVIDERS))
"""The types of providers that a file of the launcher may state."""
