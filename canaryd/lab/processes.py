"""
Child processes that die with us.

Linux sends the parent-death signal when the *thread* that forked ends, not the process. So every child is forked by one
nursery thread that lives as long as the process: a child may be asked for from any thread, and a SIGKILL of the process
takes all of its children along. The signal survives `execve`, so `setpriv` arms it and becomes the child.
"""

from __future__ import annotations

import contextlib
import ctypes
import functools
import os
import queue
import shutil
import signal
import socket
import subprocess
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future
from pathlib import Path
from typing import TypeVar

from canaryd.errors import Unavailable

T = TypeVar("T")
PR_SET_PDEATHSIG = 1  # linux/prctl.h


class Child:
    """A running program of the lab; its output goes to a file, and SIGKILL of this process kills it too."""

    def __init__(
        self, name: str, argv: Sequence[str], log: Path, cwd: Path, environment: Mapping[str, str] | None = None
    ) -> None:
        """`environment` is all of it; by default that of this process."""
        self.name = name
        self.log = log
        self._process = _fork_from_nursery(argv, log, cwd, environment)

    @property
    def pid(self) -> int:
        return self._process.pid

    @property
    def running(self) -> bool:
        return self._process.poll() is None

    def stop(self, patience: float = 5.0) -> None:
        """End it: SIGTERM, after `patience` seconds SIGKILL. Nothing happens when it has ended already."""
        if self.running:
            self._process.terminate()
        try:
            self._process.wait(patience)
        except subprocess.TimeoutExpired:
            os.killpg(self.pid, signal.SIGKILL)  # with whatever it has started itself
            self._process.wait()

    def last_words(self, lines: int = 12) -> str:
        """The end of its log, for an error message."""
        with contextlib.suppress(OSError):
            return "\n".join(self.log.read_text(errors="replace").splitlines()[-lines:])
        return ""

    def wait_until(self, ready: Callable[[], bool], deadline: float) -> None:
        """
        Wait until `ready()` says so, at most `deadline` seconds.

        Raises Unavailable with the end of its log when it ended before or did not get ready in time.
        """
        end = time.monotonic() + deadline
        while not ready():
            if not self.running:
                code = self._process.returncode
                raise Unavailable(f"{self.name} ended with {code} while starting; {self.log}:\n{self.last_words()}")
            if time.monotonic() > end:
                raise Unavailable(f"{self.name} was not ready after {deadline:g} s; {self.log}:\n{self.last_words()}")
            time.sleep(0.01)


def free_port() -> int:
    """
    A TCP port of 127.0.0.1 that was free a moment ago.

    Only for programs that cannot tell which port they got when asked for port 0: somebody may take it first, so the
    caller must be ready to try another.
    """
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def die_with_parent() -> None:
    """Ask the kernel to SIGKILL the calling process when the thread that forked it ends (Linux)."""
    _libc().prctl(PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)


def mortal(argv: Sequence[str]) -> list[str]:
    """The command that is killed when the thread that starts it ends; as it was where there is no setpriv."""
    setpriv = shutil.which("setpriv")
    return [setpriv, "--pdeathsig", "KILL", "--", *argv] if setpriv else list(argv)


def _fork_from_nursery(
    argv: Sequence[str], log: Path, cwd: Path, environment: Mapping[str, str] | None
) -> subprocess.Popen[bytes]:
    def fork() -> subprocess.Popen[bytes]:
        command = mortal(argv)
        with log.open("ab") as output:
            return subprocess.Popen(
                command,
                cwd=cwd,
                env=environment,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,  # a Ctrl-C in the terminal is for us to handle, children end when we say so
                preexec_fn=die_with_parent if command == list(argv) else None,
            )

    return _nursery().run(fork)


class _Nursery:
    """The one thread that forks."""

    def __init__(self) -> None:
        self._births: queue.SimpleQueue[Callable[[], None]] = queue.SimpleQueue()
        threading.Thread(target=self._serve, name="lab-nursery", daemon=True).start()

    def run(self, make: Callable[[], T]) -> T:
        result: Future[T] = Future()

        def birth() -> None:
            try:
                result.set_result(make())
            except BaseException as error:  # noqa: BLE001  # it belongs to the caller, whatever it is
                result.set_exception(error)

        self._births.put(birth)
        return result.result()

    def _serve(self) -> None:
        while True:
            self._births.get()()


@functools.cache
def _nursery() -> _Nursery:
    _libc()  # loaded before any fork: between fork and exec nothing may be imported
    return _Nursery()


@functools.cache
def _libc() -> ctypes.CDLL:
    return ctypes.CDLL(None)
