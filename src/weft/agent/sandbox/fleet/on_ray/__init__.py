"""The fleet of many machines, on a Ray cluster: `Fleet.connect` is the way in."""

from weft.agent.sandbox.fleet.on_ray.client import Done, Fleet, RemoteSandbox
from weft.agent.sandbox.fleet.on_ray.settings import FleetSettings

__all__ = ["Done", "Fleet", "FleetSettings", "RemoteSandbox"]
