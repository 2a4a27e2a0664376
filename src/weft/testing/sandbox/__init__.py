"""The contract of `weft.agent.sandbox`: what every provider keeps, tried by hostile programs.

Subclass `SandboxContract` and give it a `provider` fixture. Where trying an attempt outside is harmless, a
control runs the very same program unconfined and expects it to get through: an attempt that cannot succeed
anywhere proves nothing.
"""

from weft.testing.sandbox.attempts import ATTEMPTS, Attempt
from weft.testing.sandbox.bounds import BoundsContract
from weft.testing.sandbox.commands import CommandContract
from weft.testing.sandbox.escapes import EscapeContract
from weft.testing.sandbox.jobs import JobContract
from weft.testing.sandbox.outside import Outside, run_control
from weft.testing.sandbox.workspaces import WorkspaceContract

__all__ = ["ATTEMPTS", "Attempt", "Outside", "SandboxContract", "run_control"]


class SandboxContract(EscapeContract, BoundsContract, CommandContract, JobContract, WorkspaceContract):
    """Every promise of a provider. The subclass gives the fixture `provider`."""
