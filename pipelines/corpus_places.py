"""What the flags of the commands that extract corpora name: folders, caches, labels, the artifact and its sidecar."""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from resplice.io import documents, sidecars
from resplice.io.store import Place
from resplice.transforms.provenance import shown
from resplice.transforms.records import Damage, UserError
from resplice.transforms.sidecar import entries

TIMEOUT_S = 600.0


@dataclass(frozen=True)
class Output:
    """The artifact of a command, and its sidecar: where links lead to. `given` is what both were called."""

    file: Path
    manifest: Path
    given: tuple[Path, Path]

    @property
    def names(self) -> set[Path]:
        """Return all that the artifact and the sidecar are called."""
        return {self.file, self.manifest, *self.given}

    def there(self) -> dict[str, Any] | None:
        """Return the sidecar, if the artifact is as it says."""
        sidecar = sidecars.read(self.manifest)
        if sidecar is None or not self.file.is_file():
            return None
        said = {entry.get("sha256") for entry in _outputs(sidecar)}
        return sidecar if sidecars.file_digest(self.file) in said else None

    def listed(self, folder: Path, is_unit: Callable[[str], bool]) -> list[Path]:
        """Return what is in a folder, by name, without what this command writes there.

        Raises UserError if that is called like a unit: it would be one of the next run, or take the place of one.
        """
        found, real = [], _real(folder)
        for path in {*folder.iterdir(), *(name for name in self.names if name.parent in (folder, real))}:
            if path not in self.names and _real(path) not in self.names:
                found.append(path)
            elif is_unit(path.name):
                raise UserError(f"{path} is called like a file that is read in {folder}; name another output")
        return sorted(found)

    def apart(self, file: str) -> None:
        """Raise UserError if a file that is read or run is what would be written."""
        if _real(file) in self.names:
            raise UserError(f"{file} is what is used to make the output; name another output")

    def former(self) -> Path | None:
        """Return the sidecar at the usual place, if that is another one and tells of this very artifact."""
        for artifact in {self.file, *self.given[:1]}:
            usual = artifact.with_name(artifact.name + sidecars.SUFFIX)
            sidecar = sidecars.read(usual) if usual not in self.names and usual.is_file() else None
            if sidecar and str(self.file) in [entry["path"] for entry in _outputs(sidecar)]:
                return usual
        return None

    def tells(self, sidecar: Mapping[str, Any], usual: bool) -> bool:
        """Return whether a sidecar that is there tells of this artifact.

        One at the usual place does so after the folder was moved or copied, too; one elsewhere if it was moved.
        """
        said = [Path(entry["path"]) for entry in _outputs(sidecar)]
        names = {path.name for path in (self.file, self.given[0])}
        return any(path in self.names or (path.name in names and (usual or not path.exists())) for path in said)


def output(given: str, flag: str, manifest_out: str | None) -> Output:
    """Return the artifact that a flag names. UserError if it cannot be one."""
    file = _file(given, flag)
    manifest = _file(manifest_out, "--manifest-out") if manifest_out else file.with_name(file.name + sidecars.SUFFIX)
    made = Output(_regular(file, flag), _regular(manifest, "--manifest-out"), (file, manifest))
    if made.manifest == made.file:
        raise UserError(f"--manifest-out {manifest_out} is the output itself; name another file")
    _own(made, manifest_out is None)
    return made


def _own(made: Output, usual: bool) -> None:
    """Raise UserError for a file at the place of the sidecar that is not this artifact's: evidence of another, or none.

    At the usual place, what was torn when the power was lost is written again.
    """
    place = made.given[1] if usual else f"--manifest-out {made.given[1]}"
    remedy = "name another output, or move that away" if usual else "name another file"
    sidecar = sidecars.read(made.manifest)
    if sidecar is None and made.manifest.exists() and not (usual and _torn(made.manifest)):
        raise UserError(f"{place} is there and is no sidecar; {remedy}")
    if sidecar is not None and not made.tells(sidecar, usual):
        said = next((entry["path"] for entry in _outputs(sidecar)), "nothing")
        raise UserError(f"{place} is the sidecar of {said}; {remedy}")


def _torn(file: Path) -> bool:
    """Return whether a file is the beginning of a document, empty, or nothing but zeros."""
    try:
        data = file.read_bytes().strip(b"\0")
        documents.lenient(data)
    except OSError:
        return False
    except Damage:
        return data[:1] in (b"", b"{")
    return False


def _outputs(sidecar: Mapping[str, Any]) -> list[dict[str, Any]]:
    return [entry for _, entry in entries(sidecar["run_provenance"]["outputs"], "outputs")]


def _file(given: str, flag: str) -> Path:
    if "://" in given:
        raise UserError(f"{flag} {given}: corpora are written to local files; name one")
    path = _absolute(given, flag)
    if path.is_dir() or given.endswith("/"):
        raise UserError(f"{flag} {given} is a folder; name a file")
    return path


def _regular(path: Path, flag: str) -> Path:
    """Return where a file is written to: what a link leads to. UserError if no file can be there."""
    real = _real(path)
    if os.path.lexists(real) and not real.is_file():
        raise UserError(f"{flag} {path} is no regular file; name one")
    return real


def _real(path: str | Path) -> Path:
    return Path(os.path.realpath(path))


def _absolute(given: str, flag: str) -> Path:
    """Return an absolute path, its links as they are. UserError if it is no text, as sidecars hold."""
    path = os.path.abspath(given)  # noqa: PTH100  resolves .., and no link
    try:
        path.encode()
    except UnicodeEncodeError:
        raise UserError(f"{flag} {shown(path)}: the name is not UTF-8; name another") from None
    return Path(path)


def folder(given: str, flag: str) -> Path:
    """Return a folder that a flag names. UserError for one that is not there."""
    path = _absolute(given, flag)
    if not path.is_dir():
        raise UserError(f"{flag} {given}: there is no such folder; name the one that you mean")
    return path


def cache(given: str) -> Place:
    """Return the place of a cache that --cache-dir names. UserError if it cannot be a folder here."""
    if "://" in given:
        raise UserError("--cache-dir is a URL, and caches are local folders; name one")
    path = _absolute(given, "--cache-dir")
    there = next(part for part in (path, *path.parents) if os.path.lexists(part))
    if not there.is_dir():
        raise UserError(f"--cache-dir {given}: {there} is no folder; name one")
    return Place(str(path))


def timeout_s(given: float | None) -> float:
    """Return the seconds that a call may take. UserError for what is no time."""
    seconds = TIMEOUT_S if given is None else given
    if not 0 < seconds < math.inf:
        raise UserError(f"--timeout must be a number of seconds above 0, got {given}")
    return seconds
