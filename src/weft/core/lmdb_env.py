"""One LMDB directory: opened safely, growing by itself, many writers sharing one fsync.

Any number of processes may open a directory, each once. `write` is durable when it returns: concurrent
calls within a process run as child transactions of one commit. Processes take turns at LMDB's writer lock and
do not share an fsync: with unsynced commits a power cut could damage what earlier commits had made durable.
"""

from __future__ import annotations

import os
import threading
import weakref
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Any, Generic, Self, TypeVar

import lmdb

from weft.core.errors import Bug, Invalid, LimitExceeded, Unavailable
from weft.core.lmdb_commits import LastCommit
from weft.core.lmdb_files import Format, error_for, locked_directory, open_environment
from weft.core.turns import short_turns

T = TypeVar("T")

_INITIAL_MAP_BYTES = 1 << 30
_MAX_GROUP = 256
"""Calls that share one commit; more would make the first of them wait for long."""

_open_here: weakref.WeakSet[LmdbEnv] = weakref.WeakSet()
_inherited: list[LmdbEnv] = []
"""Kept for ever: closing an environment in a forked child would free its parent's reader slots."""


class LmdbEnv:
    """An open LMDB directory with a format marker and a fixed set of named databases.

    Transactions are lmdb's own. A read is a snapshot; keep it short: it pins old pages and holds up growth.
    """

    def __init__(
        self,
        path: Path,
        environment: lmdb.Environment,
        databases: dict[str, Any],
        readonly: bool,
    ) -> None:
        self.path = path
        self.readonly = readonly
        self._lmdb = environment
        self._last_commit = LastCommit(path, environment)
        self._databases = databases
        self._unusable: str | None = None
        # That of the gate, taken directly where reads begin and end: `with` on a Condition runs in Python.
        self._mutex = threading.Lock()
        self._gate = threading.Condition(self._mutex)
        self._active_reads = 0
        self._resizing = False
        self._writer = threading.Lock()
        self._queue: deque[_Request[Any]] = deque()
        self._queue_lock = threading.Lock()
        self._led = False
        self._local = _Local()
        _open_here.add(self)

    @classmethod
    def open(
        cls,
        path: str | os.PathLike[str],
        *,
        format_name: str,
        format_version: int,
        databases: Sequence[str],
        readonly: bool = False,
        map_bytes: int = _INITIAL_MAP_BYTES,
    ) -> Self:
        """Open `path`, or create it unless `readonly`. The map starts at `map_bytes` and grows by itself.

        Raises `NotFound` for a missing folder with `readonly`, `Invalid` for data of another program or
        format version or a folder that this process has open, `Corrupt` for a damaged file, `Denied` where
        the user may not write, and `Unavailable` for a full disk; then leaves behind nothing that it made.
        """
        folder = Path(path).resolve()
        with locked_directory(folder, create=not readonly):
            if any(env.path == folder and env._unusable is None for env in _open_here):
                raise Invalid(f"`{folder}` is already open in this process", hint="share the open object")
            environment, handles = open_environment(
                folder,
                Format(format_name, format_version),
                databases,
                readonly=readonly,
                map_bytes=map_bytes,
            )
            return cls(folder, environment, handles, readonly)

    def database(self, name: str) -> Any:
        """The handle of one of the databases named in `open`; pass it as lmdb's `db`."""
        return self._databases[name]

    def read(self) -> AbstractContextManager[lmdb.Transaction]:
        """A read transaction on the last commit; inside another read of this thread, that same snapshot."""
        return _Read(self)

    def write(self, fn: Callable[[lmdb.Transaction], T]) -> T:
        """Run `fn` in a write transaction and return its result once that is durable.

        What `fn` raises is raised here, and its writes alone are undone. `fn` may run in another thread, and
        more than once (the map grew, or the group was split), so it must only touch the transaction and
        build its result afresh. Raises `Unavailable` for a full disk, `LimitExceeded` for too large a write.
        """
        if self.readonly:
            raise Invalid(f"`{self.path}` is open for reading only", hint="open it with readonly=False")
        if self._local.read is not None or self._local.leading:
            raise Bug("a write inside a transaction of the same thread would wait for itself")
        request = _Request(fn)
        with self._queue_lock:
            self._queue.append(request)
            lead = not self._led
            self._led = True
        if not lead:
            self._wait_for_leader(request)
        if not request.finished:
            self._lead()
        return request.outcome()

    def last_commit(self) -> int:
        """The number of the last commit by any process; it changes with every write that changed anything."""
        number = self._last_commit.number
        if number is not None and self._unusable is None:
            return number[0]
        with self._mutex:
            self._check_usable()
            return int(self._lmdb.info()["last_txnid"])

    def close(self) -> None:
        """Wait for running transactions, then release everything. Closing twice is allowed."""
        if self._unusable is not None:
            return
        if self._local.read is not None or self._local.leading:
            raise Bug("closing inside a transaction of the same thread would wait for itself")
        with self._writer, self._no_reads():
            if self._unusable is None:
                self._unusable = "is closed"
                self._lmdb.close()
                self._last_commit.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc_info: object) -> None:
        self.close()

    # reads

    def _begin_read(self) -> lmdb.Transaction:
        """A read transaction, counted in `_active_reads`."""
        while True:
            self._check_usable()
            with self._mutex:
                while self._resizing:
                    self._gate.wait()
                self._check_usable()
                try:
                    txn = self._lmdb.begin()
                    self._active_reads += 1
                    return txn
                except lmdb.MapResizedError:
                    pass
                except lmdb.ReadersFullError as error:
                    if not self._lmdb.reader_check():
                        raise error_for(error, self.path) from error
                    continue
            with self._writer:
                self._set_map(0)

    def _end_read(self) -> None:
        txn, self._local.read = self._local.read, None
        assert txn is not None
        txn.abort()
        with self._mutex:
            self._active_reads -= 1
            if self._resizing and not self._active_reads:
                self._gate.notify_all()

    @contextmanager
    def _no_reads(self) -> Iterator[None]:
        """Wait until this process reads nothing and hold up new reads; the caller holds `_writer`."""
        with self._gate:
            self._resizing = True
            try:
                while self._active_reads:
                    self._gate.wait()
                yield
            finally:
                self._resizing = False
                self._gate.notify_all()

    def _set_map(self, size: int) -> None:
        """Remap the file with `size` bytes; 0 adopts the size that another process has set."""
        with self._no_reads():
            self._check_usable()
            try:
                self._lmdb.set_mapsize(size)
            except lmdb.Error as error:
                raise error_for(error, self.path) from error

    # writes

    def _wait_for_leader(self, request: _Request[Any]) -> None:
        """Return when `request` is finished, or when it is this thread's turn to lead."""
        try:
            request.woken.acquire()
        except BaseException:
            with self._queue_lock:
                if request in self._queue:
                    self._queue.remove(request)
                    if request.heir:
                        self._pass_lead()
            raise

    def _lead(self) -> None:
        """Commit one group from the queue, then hand over to the first that waits."""
        with self._queue_lock:
            group = [self._queue.popleft() for _ in range(min(len(self._queue), _MAX_GROUP))]
        self._local.leading = True
        try:
            with self._writer, short_turns():
                self._commit(group)
        finally:
            self._local.leading = False
            with self._queue_lock:
                self._pass_lead()
            for request in group:
                request.finish()

    def _pass_lead(self) -> None:
        self._led = bool(self._queue)
        if self._queue:
            self._queue[0].heir = True
            self._queue[0].woken.release()

    def _commit(self, group: list[_Request[Any]]) -> None:
        """Run a group in one transaction; alone, each may fail, and together each in a child of its own."""
        while True:
            try:
                self._check_usable()
                with self._lmdb.begin(write=True) as txn:
                    if len(group) == 1:
                        group[0].run(txn)
                    else:
                        for request in group:
                            request.run_in_child(self._lmdb, txn)
                break
            except lmdb.MapFullError:
                self._set_map(self._lmdb.info()["map_size"] * 2)
            except lmdb.MapResizedError:
                self._set_map(0)
            except lmdb.TxnFullError:
                if len(group) > 1:
                    for request in group:
                        self._commit([request])
                    return
                group[0].error = LimitExceeded("too much is written at once", hint="write smaller batches")
                break
            except Exception as error:
                for request in group:
                    request.error = error_for(error, self.path) if isinstance(error, lmdb.Error) else error
                break
        for request in group:
            request.decided = True

    def _check_usable(self) -> None:
        if self._unusable is not None:
            raise Invalid(f"`{self.path}` {self._unusable}", hint="open it again")


class _Read:
    """One `with` of `LmdbEnv.read`; a class, since a generator would cost more than the transaction."""

    __slots__ = ("_began", "_env")

    def __init__(self, env: LmdbEnv) -> None:
        self._env = env
        self._began = False

    def __enter__(self) -> lmdb.Transaction:
        local = self._env._local
        if local.read is None:
            local.read = self._env._begin_read()
            self._began = True
        return local.read

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        if self._began:
            self._env._end_read()
            if isinstance(error, lmdb.Error):
                raise error_for(error, self._env.path) from error


class _Local(threading.local):
    """What the current thread is doing in one environment."""

    read: lmdb.Transaction | None = None
    leading = False


class _Request(Generic[T]):
    """One call of `write`, waiting for its group."""

    __slots__ = ("decided", "error", "finished", "fn", "heir", "result", "woken")

    def __init__(self, fn: Callable[[lmdb.Transaction], T]) -> None:
        self.fn = fn
        self.result: T | None = None
        self.error: Exception | None = None
        self.decided = False
        self.finished = False
        self.heir = False
        self.woken = threading.Lock()
        self.woken.acquire()

    def run(self, txn: lmdb.Transaction) -> None:
        self.result = self.fn(txn)
        self.error = None

    def run_in_child(self, environment: lmdb.Environment, parent: lmdb.Transaction) -> None:
        try:
            with environment.begin(write=True, parent=parent) as child:
                self.run(child)
        except (lmdb.MapFullError, lmdb.TxnFullError):
            raise
        except Exception as error:
            self.error = error

    def finish(self) -> None:
        self.finished = True
        self.woken.release()

    def outcome(self) -> T:
        if not self.decided:
            raise Unavailable("the thread that wrote for this one was interrupted", hint="try again")
        if self.error is not None:
            raise self.error
        return self.result  # type: ignore[return-value]


def _forbid_inherited() -> None:
    """In a forked child: LMDB's locks and reader slots belong to the parent."""
    for env in _open_here:
        env._unusable = "was opened before this process was forked"
        _inherited.append(env)


os.register_at_fork(after_in_child=_forbid_inherited)
