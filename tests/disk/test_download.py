"""Downloads from a server on this machine: resumed, checked, one message when they fail."""

import base64
import errno
import hashlib
import http.client
import http.server
import ssl
import threading

import pytest

from kdrecipes.disk.download import fetch
from kdrecipes.errors import EnvironmentProblem

CONTENT = bytes(range(256)) * 40
SHA256 = hashlib.sha256(CONTENT).hexdigest()


class Server(http.server.ThreadingHTTPServer):
    """Serves CONTENT; `breaks` cuts the next answer off there; `ranges` are those that were asked for.

    A path `/to/ADDRESS` leads there. With `stalls` the connection stays open where an answer is cut off. `length` and
    `part` are told in place of the content's length and of the part that is answered.
    """

    def __init__(self):
        super().__init__(("127.0.0.1", 0), Handler)
        self.breaks, self.ranges, self.md5, self.resumes = None, [], hashlib.md5(CONTENT).digest(), True
        self.url = f"http://127.0.0.1:{self.server_port}/model.npz"
        self.stalls, self.length, self.part, self.released = False, None, None, threading.Event()


class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        server, asked = self.server, self.headers["Range"]
        server.ranges.append(asked)
        start = int(asked.removeprefix("bytes=").rstrip("-")) if asked and server.resumes else 0
        if self.path.startswith("/to/"):
            self.send_response(302)
            self.send_header("Location", self.path.removeprefix("/to/"))
            self.end_headers()
            return
        if self.path != "/model.npz":
            self.send_error(404)
            return
        if start >= len(CONTENT):
            self.send_response(416)
            self.send_header("Content-Range", f"bytes */{len(CONTENT)}")
            self.send_header("Content-Length", "0")
            self.send_header("x-goog-hash", f"md5={base64.b64encode(server.md5).decode()}")
            self.end_headers()
            return
        self.send_response(206 if start else 200)
        if server.length != "":
            self.send_header("Content-Length", server.length or str(len(CONTENT) - start))
        if server.part:
            self.send_header("Content-Range", server.part)
        self.send_header("x-goog-hash", "crc32c=AAAAAA==")
        self.send_header("x-goog-hash", f"md5={base64.b64encode(server.md5).decode()}")
        self.end_headers()
        end, server.breaks = server.breaks, None
        self.wfile.write(CONTENT[start:end])
        if server.stalls and end:
            self.wfile.flush()
            server.released.wait(60)

    def log_message(self, *args):
        pass


@pytest.fixture
def server():
    with Server() as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield server
        server.released.set()
        server.shutdown()
        thread.join()


def test_a_file_is_downloaded_once(server, tmp_path):
    path = fetch(server.url, SHA256, tmp_path)
    assert path == tmp_path / "model.npz" and path.read_bytes() == CONTENT
    assert fetch(server.url, SHA256, tmp_path) == path and server.ranges == [None]


def test_it_is_kept_in_the_home(server, tmp_path, monkeypatch):
    monkeypatch.setenv("KDRECIPES_HOME", str(tmp_path))
    assert fetch(server.url) == tmp_path / "weights" / "model.npz"


@pytest.mark.parametrize("resumes", [True, False])
def test_half_a_download_is_continued(server, tmp_path, resumes):
    server.breaks, server.resumes = 1000, resumes
    with pytest.raises(EnvironmentProblem, match=r"after 1,000 of 10,240 bytes\)\. What came, 1,000 bytes, is kept"):
        fetch(server.url, SHA256, tmp_path)
    assert not (tmp_path / "model.npz").exists()
    assert fetch(server.url, SHA256, tmp_path).read_bytes() == CONTENT
    assert server.ranges == [None, "bytes=1000-"]
    assert not (tmp_path / "model.npz.part").exists()


def test_what_is_too_long_to_be_its_beginning_is_thrown_away(server, tmp_path):
    (tmp_path / "model.npz.part").write_bytes(CONTENT + b"more")
    assert fetch(server.url, SHA256, tmp_path).read_bytes() == CONTENT


def test_a_whole_download_that_was_not_yet_named_is_not_fetched_again(server, tmp_path):
    (tmp_path / "model.npz.part").write_bytes(CONTENT)
    assert fetch(server.url, SHA256, tmp_path).read_bytes() == CONTENT
    assert server.ranges == ["bytes=10240-"]
    (tmp_path / "model.npz").unlink()
    (tmp_path / "model.npz.part").write_bytes(CONTENT[::-1])
    with pytest.raises(EnvironmentProblem, match="md5"):
        fetch(server.url, None, tmp_path)


def test_a_wrong_beginning_does_not_pass_the_md5(server, tmp_path):
    (tmp_path / "model.npz.part").write_bytes(b"x" * 500)
    with pytest.raises(EnvironmentProblem, match="md5"):
        fetch(server.url, None, tmp_path)
    assert fetch(server.url, None, tmp_path).read_bytes() == CONTENT


def test_another_checksum_is_refused_and_named(server, tmp_path):
    with pytest.raises(EnvironmentProblem, match=f"has sha256 {SHA256}, expected {'0' * 64}"):
        fetch(server.url, "0" * 64, tmp_path)
    assert not (tmp_path / "model.npz").exists()
    (tmp_path / "model.npz").write_bytes(b"other")
    with pytest.raises(EnvironmentProblem, match="Delete it"):
        fetch(server.url, SHA256, tmp_path)


def test_no_network_says_what_to_fetch_and_where_to_put_it(tmp_path):
    with pytest.raises(EnvironmentProblem) as caught:
        fetch("http://127.0.0.1:9/model.npz", None, tmp_path)
    message = str(caught.value)
    assert message.startswith("http://127.0.0.1:9/model.npz could not be downloaded (")
    assert message.endswith(f"put it at {tmp_path / 'model.npz'}.")


@pytest.mark.parametrize("error", [OSError(errno.ENETUNREACH, "Network is unreachable"), ssl.SSLError("bad record")])
def test_a_network_that_goes_away_is_said(server, tmp_path, monkeypatch, error):
    def gone(*args):
        raise error

    monkeypatch.setattr(http.client.HTTPResponse, "read1", gone)
    with pytest.raises(EnvironmentProblem, match="could not be downloaded"):
        fetch(server.url, None, tmp_path)


def test_a_full_disk_is_told_as_such(server, tmp_path, monkeypatch):
    def full(_):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("kdrecipes.disk.download.os.fsync", full)
    with pytest.raises(EnvironmentProblem, match=r"The disk that holds .* is full"):
        fetch(server.url, None, tmp_path)


def test_a_missing_file_is_said(server, tmp_path):
    with pytest.raises(EnvironmentProblem, match="Not Found"):
        fetch(server.url + "x", None, tmp_path)


def test_a_server_that_falls_silent_is_told_and_what_came_is_continued(server, tmp_path, monkeypatch):
    monkeypatch.setattr("kdrecipes.disk.download._TIMEOUT", 0.2)
    server.breaks, server.stalls = 5000, True
    with pytest.raises(EnvironmentProblem) as caught:
        fetch(server.url, SHA256, tmp_path)
    told = str(caught.value)
    assert told.startswith(f"{server.url} could not be downloaded (nothing came for 0.2 s). What came, 5,000 bytes, is")
    assert "Run the same command again" in told and told.endswith(f"put it at {tmp_path / 'model.npz'}.")
    assert fetch(server.url, SHA256, tmp_path).read_bytes() == CONTENT
    assert server.ranges == [None, "bytes=5000-"]


def test_a_server_that_sends_next_to_nothing_is_left_and_what_came_is_continued(server, tmp_path, monkeypatch):
    seconds = iter(range(0, 10**6, 40))
    monkeypatch.setattr("kdrecipes.disk.download.time.monotonic", lambda: next(seconds))
    monkeypatch.setattr("kdrecipes.disk.download._CHUNK", 1)
    with pytest.raises(EnvironmentProblem, match=r"\(only 2 bytes came within 60 s\)\. What came, 2 bytes, is kept"):
        fetch(server.url, SHA256, tmp_path)
    monkeypatch.setattr("kdrecipes.disk.download._CHUNK", 10_000)
    assert fetch(server.url, SHA256, tmp_path).read_bytes() == CONTENT


@pytest.mark.parametrize("length", ["", None])
def test_a_file_without_end_is_not_kept(server, tmp_path, monkeypatch, length):
    monkeypatch.setattr("kdrecipes.disk.download._MOST", 8000)
    monkeypatch.setattr("kdrecipes.disk.download._CHUNK", 500)
    server.length = length
    with pytest.raises(EnvironmentProblem, match=r"\(it is larger than 8 kB, and was thrown away\)\. Run"):
        fetch(server.url, SHA256, tmp_path)
    assert not (tmp_path / "model.npz.part").exists()


@pytest.mark.parametrize("length", ["many", "-1", "", "\u0663"])
def test_a_length_that_is_none_is_left_aside(server, tmp_path, length):
    server.length = length.encode().decode("latin-1")
    assert fetch(server.url, SHA256, tmp_path).read_bytes() == CONTENT


def test_a_length_that_is_too_long_is_half_a_download_and_one_too_short_another_file(server, tmp_path):
    server.length = "20000"
    with pytest.raises(
        EnvironmentProblem, match=r"ended after 10,240 of 20,000 bytes\)\. What came, 10,240 bytes, is kept"
    ):
        fetch(server.url, SHA256, tmp_path)
    (tmp_path / "model.npz.part").unlink()
    server.length = "100"
    with pytest.raises(EnvironmentProblem, match="md5"):
        fetch(server.url, None, tmp_path)


def test_another_part_than_was_asked_for_is_not_put_behind_the_first(server, tmp_path):
    (tmp_path / "model.npz.part").write_bytes(CONTENT[:1000])
    server.part = "bytes 0-9/10240"
    assert fetch(server.url, SHA256, tmp_path).read_bytes() == CONTENT
    assert server.ranges == ["bytes=1000-", None]


def test_a_redirect_leads_to_https_or_to_the_same_host(server, tmp_path):
    there = server.url.removesuffix("/model.npz")
    assert fetch(f"{there}/to//model.npz", SHA256, tmp_path).read_bytes() == CONTENT
    (tmp_path / "model.npz").unlink()
    told = {"ftp://127.0.0.1/model.npz": "which is not https", "http://127.0.0.1:9/model.npz": "which is not https"}
    for address, why in {**told, "file:///etc/model.npz": "is not allowed"}.items():
        with pytest.raises(EnvironmentProblem, match=f"{address}.*{why}"):
            fetch(f"{there}/to/{address}", SHA256, tmp_path)
    assert not list(tmp_path.glob("model*"))


def test_a_redirect_without_end_is_one_message(server, tmp_path):
    server.url += "x"
    with pytest.raises(EnvironmentProblem, match="infinite loop"):
        fetch(f"http://127.0.0.1:{server.server_port}/to/x/../to/model.npz", SHA256, tmp_path)
