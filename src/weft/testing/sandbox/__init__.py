"""The contract of `weft.agent.sandbox`: what every provider keeps, tried by hostile programs.

A provider runs all of it by a class in a test module:

    class TestNamespaces(SandboxContract):
        @classmethod
        def make_provider(cls, state: Path) -> SandboxProvider:
            return Namespaces(state=str(state))

`state` is an empty folder; `pytest.skip(reason)` in there skips the class. `python` names the interpreter
inside. The attempts (`ATTEMPTS`) share the sandboxes of the class; those are made that attack what
`provider.promises` names. `ControlContract` makes each once outside, where it has to get through.
"""

from weft.testing.sandbox.attempt import Attempt, Ground, Verdict
from weft.testing.sandbox.bounds import BoundsContract
from weft.testing.sandbox.commands import CommandContract
from weft.testing.sandbox.controls import ControlContract, run_control
from weft.testing.sandbox.escapes import EscapeContract
from weft.testing.sandbox.hostile import ATTEMPTS
from weft.testing.sandbox.jobs import JobContract
from weft.testing.sandbox.outside import Outside, outside_world
from weft.testing.sandbox.workspaces import WorkspaceContract

__all__ = [
    "ATTEMPTS",
    "Attempt",
    "ControlContract",
    "Ground",
    "Outside",
    "SandboxContract",
    "Verdict",
    "outside_world",
    "run_control",
]


class SandboxContract(EscapeContract, BoundsContract, CommandContract, JobContract, WorkspaceContract):
    """Every promise of a provider. The subclass gives `make_provider`."""
