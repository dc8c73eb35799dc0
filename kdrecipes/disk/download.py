"""Downloads: resumed where they stopped, checked, and under their name only when they are whole."""

from __future__ import annotations

import base64
import email.message
import hashlib
import http.client
import os
import time
import urllib.error
import urllib.parse
import urllib.request
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TimeRemainingColumn

from kdrecipes.disk.files import disk_errors, is_disk_error, locked, sync_folder
from kdrecipes.disk.home import kept_at
from kdrecipes.errors import EnvironmentProblem
from kdrecipes.hashing import file_sha256
from kdrecipes.wording import readable_bytes

_CHUNK = 1 << 20
_TIMEOUT = 30  # seconds without a byte
_WINDOW, _LEAST = 60, 10_000  # seconds, and bytes that come within them at the least
_MOST = 20_000_000_000  # bytes: who sends more sends no weights, and fills the disk


def fetch(url: str, sha256: str | None = None, folder: Path | None = None) -> Path:
    """A file from the web, kept for ever after.

    What an interrupted download left is continued. The length, the md5 that Google's storage sends along and `sha256`
    are checked before the file gets its name.

    Args:
        url: http(s) address; its last part names the file.
        sha256: what the content must have, hex; None where nobody published one.
        folder: where to keep it; default `weights` in `KDRECIPES_HOME`.

    Raises:
        EnvironmentProblem: no network, an answer other than the file, or a checksum that differs; it says what to
            fetch and where to put it.
    """
    path = (folder or kept_at("weights")) / url.rpartition("/")[2]
    with locked(path.with_name(f".{path.name}.lock")):
        if not path.is_file():
            part = path.with_name(f"{path.name}.part")
            _download(url, part, path)
            if sha256 is not None:
                check_sha256(part, sha256)
            part.replace(path)
            sync_folder(path.parent)
        elif sha256 is not None:
            check_sha256(path, sha256)
    return path


def check_sha256(path: Path, expected: str) -> None:
    """Refuse a file of another content.

    Raises:
        EnvironmentProblem: naming both checksums.
    """
    received = file_sha256(path)
    if received != expected:
        raise EnvironmentProblem(
            f"{path} has sha256 {received}, expected {expected}. Delete it to fetch it again, or mend what is expected."
        )


def _download(url: str, part: Path, path: Path) -> None:
    """Fill `part` from where it ends."""
    with disk_errors(part.parent):
        try:
            _continue(url, part)
        except (OSError, http.client.HTTPException) as error:  # of the network in many kinds
            if isinstance(error, OSError) and is_disk_error(error):
                raise
            reason = getattr(error, "reason", None) or error
            text = " ".join(str(reason).split())[:300] or type(error).__name__
            if isinstance(reason, TimeoutError):
                text = f"nothing came for {_TIMEOUT} s"
            kept = f" What came, {part.stat().st_size:,} bytes, is kept." if part.is_file() else ""
            raise EnvironmentProblem(
                f"{url} could not be downloaded ({text}).{kept} Run the same command again where there is a network, "
                f"or fetch the file elsewhere and put it at {path}."
            ) from error


class _Redirects(urllib.request.HTTPRedirectHandler):
    """Follows to https, and to the same host; who can change what comes by http could send it anywhere else."""

    def redirect_request(self, req: Any, fp: Any, code: int, msg: str, headers: Any, newurl: str) -> Any:
        old, new = urllib.parse.urlsplit(req.full_url), urllib.parse.urlsplit(newurl)
        if new.scheme != "https" and (new.scheme, new.netloc) != (old.scheme, old.netloc):
            raise urllib.error.HTTPError(newurl, code, f"it leads to {newurl}, which is not https", headers, fp)
        return super().redirect_request(req, fp, code, msg, headers, newurl)


def _continue(url: str, part: Path) -> None:
    start = part.stat().st_size if part.is_file() else 0
    request = urllib.request.Request(url, headers={"Range": f"bytes={start}-"} if start else {})
    try:
        answer: Any = urllib.request.build_opener(_Redirects).open(request, timeout=_TIMEOUT)
    except urllib.error.HTTPError as error:
        if error.code != 416 or not start:  # 416: the file ends where ours does, or before
            raise
        if error.headers.get("Content-Range") == f"bytes */{start}":  # all of it, cut off before it was checked
            _check_md5(part, error.headers)
            return
        part.unlink()
        _continue(url, part)
        return
    with answer:
        start = start if answer.status == 206 else 0
        if start and not answer.headers.get("Content-Range", f"bytes {start}-").startswith(f"bytes {start}-"):
            part.unlink()  # who answers with another part can't continue this one
            _continue(url, part)
            return
        length = answer.headers.get("Content-Length", "")
        total = start + int(length) if length.isdecimal() and length.isascii() else None
        _receive(answer, part, start, total)
    received = part.stat().st_size
    if total is not None and received != total:
        raise http.client.HTTPException(f"the connection ended after {received:,} of {total:,} bytes")
    _check_md5(part, answer.headers)


def _receive(answer: Any, part: Path, start: int, total: int | None) -> None:
    """Write what comes behind the first `start` bytes of `part`, each piece as it comes, so that it is kept."""
    received, came, began = start, 0, time.monotonic()
    with part.open("ab" if start else "wb") as file, _bars() as bars:
        task = bars.add_task(part.stem, total=total, completed=start)
        while (total or 0) <= _MOST and received <= _MOST and (piece := answer.read1(_CHUNK)):
            file.write(piece)
            bars.advance(task, len(piece))
            received, came = received + len(piece), came + len(piece)
            if time.monotonic() - began > _WINDOW:
                if came < _LEAST:
                    raise http.client.HTTPException(f"only {came:,} bytes came within {_WINDOW} s")
                came, began = 0, time.monotonic()
        file.flush()
        os.fsync(file.fileno())
    if max(total or 0, received) > _MOST:
        part.unlink()
        raise http.client.HTTPException(f"it is larger than {readable_bytes(_MOST)}, and was thrown away")


def _check_md5(part: Path, headers: email.message.Message) -> None:
    """Throw away what differs from the md5 that Google's storage sends along."""
    for line in headers.get_all("x-goog-hash") or []:
        kind, _, value = line.partition("=")
        if kind == "md5" and base64.b64encode(_md5(part)).decode() != value:
            part.unlink()
            raise http.client.HTTPException("what came differs from the md5 sent along, and was thrown away")


def _md5(path: Path) -> bytes:
    with path.open("rb") as file:
        return hashlib.file_digest(file, lambda: hashlib.md5(usedforsecurity=False)).digest()


def _bars() -> Progress:
    console = Console(stderr=True)
    columns = (TextColumn("{task.description}"), BarColumn(), DownloadColumn(), TimeRemainingColumn())
    return Progress(*columns, console=console, disable=not console.is_terminal)
