"""The hostile cases, by what they attack."""

from typing import Final

from weft.testing.sandbox.attempt import Attempt
from weft.testing.sandbox.hostile.committed import COMMITTED
from weft.testing.sandbox.hostile.executor import EXECUTOR
from weft.testing.sandbox.hostile.files import FILES
from weft.testing.sandbox.hostile.kernel import KERNEL
from weft.testing.sandbox.hostile.network import NETWORK
from weft.testing.sandbox.hostile.privileges import PRIVILEGES
from weft.testing.sandbox.hostile.processes import PROCESSES
from weft.testing.sandbox.hostile.resources import RESOURCES
from weft.testing.sandbox.hostile.secrets import SECRETS

ATTEMPTS: Final[list[Attempt]] = [
    *(FILES + SECRETS + NETWORK + PROCESSES + EXECUTOR + PRIVILEGES + KERNEL + RESOURCES + COMMITTED)
]
