"""Sandboxes as pods of a Kubernetes cluster: the manifest, a thin client of the API, and the provider."""

from weft.agent.sandbox.kubernetes.provider import Kubernetes

__all__ = ["Kubernetes"]
