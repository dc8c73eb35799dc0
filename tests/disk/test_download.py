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
    """Serves CONTENT; `breaks` cuts the next answer off there; `ranges` are those that were asked for."""

    def __init__(self):
        super().__init__(("127.0.0.1", 0), Handler)
        self.breaks, self.ranges, self.md5, self.resumes = None, [], hashlib.md5(CONTENT).digest(), True
        self.url = f"http://127.0.0.1:{self.server_port}/model.npz"


class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        server, asked = self.server, self.headers["Range"]
        server.ranges.append(asked)
        start = int(asked.removeprefix("bytes=").rstrip("-")) if asked and server.resumes else 0
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
        self.send_header("Content-Length", str(len(CONTENT) - start))
        self.send_header("x-goog-hash", "crc32c=AAAAAA==")
        self.send_header("x-goog-hash", f"md5={base64.b64encode(server.md5).decode()}")
        self.end_headers()
        end, server.breaks = server.breaks, None
        self.wfile.write(CONTENT[start:end])

    def log_message(self, *args):
        pass


@pytest.fixture
def server():
    with Server() as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield server
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

    monkeypatch.setattr(http.client.HTTPResponse, "read", gone)
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
