"""The cache of built images: entries named by the hash of all that went into them.

Owns naming, locking, atomic completion, logs and the running of build steps. Knows nothing of what is
built (``recipes.py``).
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import json
import os
import re
import shutil
import signal
import subprocess
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import platformdirs

from vtool.base.progress import Progress
from vtool.board.disk import with_system_programs
from vtool.diagnostics import VtoolError, board_failed, not_installed
from vtool.files.own_folders import own_folder
from vtool.files.replacing import synced
from vtool.images.kernel_options import dropped_options

_LOG_TAIL_LINES = 20
_STOP_DEADLINE_S = 5.0


@dataclass(frozen=True)
class Image:
    """A finished entry: the file, its digest, and its manifest."""

    path: Path
    manifest: Mapping[str, Any]

    @property
    def sha256(self) -> str:
        """Digest of the file."""
        return str(self.manifest["sha256"])


@dataclass(frozen=True)
class Recipe:
    """How one image is made.

    ``inputs`` returns everything that goes in, as JSON data, given the images in ``needs``; ``build``
    writes ``Build.output``.
    """

    name: str
    output: str
    inputs: Callable[[Mapping[str, Image]], dict[str, Any]]
    build: Callable[[Build], None]
    needs: tuple[str, ...] = ()


@dataclass
class Build:
    """One build in progress: where it writes, what it needs, how it runs steps."""

    recipe: Recipe
    inputs: dict[str, Any]
    needs: Mapping[str, Image]
    folder: Path
    cache: Path
    log: Path
    progress: Progress
    task: str
    children: ChildProcesses
    inherited: tuple[int, ...]
    facts: dict[str, Any] = field(default_factory=dict)
    """What the build finds out about what it made; goes into the manifest."""

    @property
    def output(self) -> Path:
        """The file the build has to write."""
        return self.folder / self.recipe.output

    def run(
        self,
        step: str,
        argv: Sequence[str],
        *,
        cwd: Path | None = None,
        env: Mapping[str, str] | None = None,
        on_line: Callable[[str], str | None] | None = None,
    ) -> None:
        """Run one step, logging all it says; VtoolError VT502 with the log's tail when it fails.

        ``on_line`` may turn a line into a progress detail.
        """
        self.progress.update(self.task, step)
        with self.log.open("a") as log:
            log.write(f"## {step}: {' '.join(argv)}\n")
            log.flush()
            try:
                process = self.children.start(argv, cwd=cwd, env=env, inherited=self.inherited)
            except FileNotFoundError:
                raise not_installed(argv[0]) from None
            assert process.stdout is not None
            for line in process.stdout:
                log.write(line)
                detail = on_line(line) if on_line else None
                if detail:
                    self.progress.update(self.task, f"{step}: {detail}")
            code = self.children.wait(process)
            process.stdout.close()
        if code != 0:
            tail = self.log.read_text(errors="replace").splitlines()[-_LOG_TAIL_LINES:]
            raise board_failed(
                "VT502",
                f"building image '{self.recipe.name}' failed at the step '{step}' (exit code {code})",
                hints=(f"the whole log: {self.log}",),
                detail=tail,
            )

    def check_configuration(self, wanted: str, resulting: str) -> None:
        """Refuse a configuration in which Kconfig dropped an option that was asked for (VT504)."""
        if dropped := dropped_options(wanted, resulting):
            raise board_failed(
                "VT504",
                f"the configuration of image '{self.recipe.name}' does not take {', '.join(dropped)}: "
                "a dependency is missing",
            )

    @contextlib.contextmanager
    def work_tree(self, name: str) -> Iterator[Path]:
        """Yield a folder kept between builds (an object tree), for one build at a time."""
        tree = self.cache / "work" / name
        with _locked(tree.with_name(tree.name + ".lock"), self.progress, self.task, self.children) as lock:
            before = self.inherited
            self.inherited = (*before, lock)
            try:
                yield tree
            finally:
                self.inherited = before


def counted(pattern: str, what: str, every: int = 1) -> Callable[[str], str | None]:
    """Return a reader of output lines that counts those that match."""
    count = 0

    def on_line(line: str) -> str | None:
        nonlocal count
        if not re.match(pattern, line):
            return None
        count += 1
        return f"{count} {what}" if count % every == 0 else None

    return on_line


def parallel() -> str:
    """Return make's and ninja's option to keep all processors busy."""
    return f"-j{(os.cpu_count() or 1) + 1}"


@dataclass
class ChildProcesses:
    """The processes of running builds, so that an interrupted vtool ends them all."""

    _running: set[subprocess.Popen[str]] = field(default_factory=set)
    _lock: threading.Lock = field(default_factory=threading.Lock)
    _stopped: bool = False

    def start(
        self,
        argv: Sequence[str],
        *,
        cwd: Path | None,
        env: Mapping[str, str] | None,
        inherited: tuple[int, ...],
    ) -> subprocess.Popen[str]:
        """Start a process in a group of its own, both outputs on one pipe."""
        with self._lock:
            if self._stopped:
                raise KeyboardInterrupt
            process = subprocess.Popen(
                list(argv),
                cwd=cwd,
                env={**with_system_programs(), "LC_ALL": "C.UTF-8", **(env or {})},
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                text=True,
                errors="replace",
                start_new_session=True,
                # Children hold the entry's lock too: should vtool be killed, nobody builds beside them.
                pass_fds=inherited,
            )
            self._running.add(process)
            return process

    def wait(self, process: subprocess.Popen[str]) -> int:
        """Wait for the end of a process and return its code."""
        code = process.wait()
        with self._lock:
            self._running.discard(process)
        return code

    def stop(self) -> None:
        """End every running process group, by force what does not go; no more are started."""
        with self._lock:
            self._stopped = True
            running = list(self._running)
        self._signal(running, signal.SIGTERM)
        deadline = time.monotonic() + _STOP_DEADLINE_S
        while any(process.poll() is None for process in running) and time.monotonic() < deadline:
            time.sleep(0.02)  # the loop has the deadline
        self._signal(running, signal.SIGKILL)

    def check(self) -> None:
        """Raise KeyboardInterrupt once stopped."""
        if self._stopped:
            raise KeyboardInterrupt

    @staticmethod
    def _signal(processes: list[subprocess.Popen[str]], number: signal.Signals) -> None:
        for process in processes:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, number)


def cache_folder() -> Path:
    """Return the cache (``VTOOL_CACHE`` or the user's cache folder). Raises VtoolError VT150."""
    return own_folder("VTOOL_CACHE", platformdirs.user_cache_dir)


def key_of(recipe: Recipe, inputs: Mapping[str, Any]) -> str:
    """Return the name of an entry: the hash of everything that goes into it."""
    canonical = json.dumps({"recipe": recipe.name, "inputs": inputs}, sort_keys=True)
    return hashlib.sha256(canonical.encode()).hexdigest()[:16]


def file_sha256(path: Path) -> str:
    """Return the digest of a file."""
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


class Store:
    """The cache folder. Entries are complete or absent; ``<key>.partial`` is a build under way."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def entry(self, recipe: Recipe, inputs: Mapping[str, Any]) -> Path:
        """Return where an image with these inputs lies or would lie."""
        return self.folder / "images" / recipe.name / key_of(recipe, inputs)

    def find(self, recipe: Recipe, inputs: Mapping[str, Any]) -> Image | None:
        """Return the finished entry, or None."""
        entry = self.entry(recipe, inputs)
        try:
            manifest = json.loads((entry / "manifest.json").read_text())
            whole = (entry / recipe.output).stat().st_size == manifest["size_bytes"]
        except (OSError, ValueError, KeyError):
            return None
        return Image(entry / recipe.output, manifest) if whole else None

    def newest(self, recipe: Recipe) -> Image | None:
        """Return the entry of the recipe that was completed last, whatever went into it."""
        manifests = [*(self.folder / "images" / recipe.name).glob("*[!l]/manifest.json")]  # not .partial
        for path in sorted(manifests, key=lambda path: path.stat().st_mtime, reverse=True):
            with contextlib.suppress(OSError, ValueError):
                return Image(path.parent / recipe.output, json.loads(path.read_text()))
        return None

    def log_of(self, recipe: Recipe, inputs: Mapping[str, Any]) -> Path:
        """Return the log of a build that is under way, or failed."""
        entry = self.entry(recipe, inputs)
        return entry.with_name(entry.name + ".partial") / "build.log"

    def get(self, recipe: Recipe, needs: Mapping[str, Image], progress: Progress, children: ChildProcesses) -> Image:
        """Return the image, building it when it is not there. VtoolError VT5xx when that fails."""
        inputs = recipe.inputs(needs)
        found = self.find(recipe, inputs)
        if found is not None:
            return found
        task = f"image {recipe.name}"
        progress.start(task)
        begin = time.monotonic()
        entry = self.entry(recipe, inputs)
        try:
            with _locked(entry.with_name(entry.name + ".lock"), progress, task, children) as lock:
                found = self.find(recipe, inputs)
                if found is None:
                    log = self.log_of(recipe, inputs)
                    log.parent.mkdir(parents=True, exist_ok=True)
                    build = Build(
                        recipe, inputs, needs, log.parent, self.folder, log, progress, task, children, (lock,)
                    )
                    recipe.build(build)
                    found = self._complete(build, entry, time.monotonic() - begin)
        except BaseException:
            progress.finish(task, "failed", time.monotonic() - begin)
            raise
        progress.finish(task, "built", time.monotonic() - begin)
        return found

    def _complete(self, build: Build, entry: Path, seconds: float) -> Image:
        manifest = {
            "name": build.recipe.name,
            "inputs": build.inputs,
            "facts": build.facts,
            "needs": {name: image.sha256 for name, image in build.needs.items()},
            "seconds": round(seconds, 1),
            "size_bytes": build.output.stat().st_size,
            "sha256": file_sha256(build.output),
        }
        written = build.folder / "manifest.json"
        written.write_text(json.dumps(manifest, indent=2, sort_keys=True) + "\n")
        shutil.rmtree(entry, ignore_errors=True)
        for path in (build.output, written, build.folder):
            synced(path)
        build.folder.rename(entry)
        synced(entry.parent)
        return Image(entry / build.recipe.output, manifest)


@contextlib.contextmanager
def _locked(path: Path, progress: Progress, task: str, children: ChildProcesses) -> Iterator[int]:
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w") as lock:
        told = False
        while True:
            children.check()
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                if not told:
                    progress.update(task, "another vtool builds this; waiting for it")
                told = True
                time.sleep(0.05)  # a lock has no deadline: the other build has
        os.set_inheritable(lock.fileno(), True)
        yield lock.fileno()


__all__ = [
    "Build",
    "ChildProcesses",
    "Image",
    "Recipe",
    "Store",
    "VtoolError",
    "cache_folder",
    "counted",
    "file_sha256",
    "parallel",
]
