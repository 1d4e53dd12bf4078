import hashlib
import http.server
import threading

import numpy as np
import pytest

from symrnn.text import EOS, UNK, download, penn_treebank

CONTENT = np.random.default_rng(0).bytes(300_000)
MD5 = "md5:" + hashlib.md5(CONTENT).hexdigest()
TEXTS = {
    "ptb.train.txt": " the <unk> said N dogs \n the end \n",
    "ptb.valid.txt": " the dogs said \n",
    "ptb.test.txt": " the end \n N <unk> \n",
}


class Server(http.server.ThreadingHTTPServer):
    """A server of files that can break off its answers, and notes what it was asked for."""

    daemon_threads = True

    def __init__(self):
        super().__init__(("127.0.0.1", 0), Handler)
        self.files = {"/data": CONTENT}
        self.break_after = []  # bytes of the next answers
        self.ranges, self.knows_ranges, self.tells_length = [], True, True
        self.url = f"http://127.0.0.1:{self.server_port}"


class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        server, content = self.server, self.server.files.get(self.path)
        asked = self.headers["Range"]
        server.ranges.append(asked)
        if content is None:
            self.send_error(404)
            return
        begin = int(asked[len("bytes=") : -1]) if asked and server.knows_ranges else 0
        if begin and begin >= len(content):
            self.send_response(416)
            self.send_header("Content-Range", f"bytes */{len(content)}")
            self.send_header("Content-Length", "0")
            self.end_headers()
            return
        self.send_response(206 if begin else 200)
        if server.tells_length:
            self.send_header("Content-Length", str(len(content) - begin))
        self.end_headers()
        end = begin + server.break_after.pop(0) if server.break_after else len(content)
        self.wfile.write(content[begin:end])

    def log_message(self, *_):
        pass


@pytest.fixture(autouse=True)
def _no_proxy(monkeypatch):
    monkeypatch.setenv("no_proxy", "*")


@pytest.fixture
def server():
    with Server() as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        yield server
        server.shutdown()
        thread.join()


def test_a_file_is_downloaded_once(server, tmp_path):
    file = tmp_path / "new" / "file"
    assert download(server.url + "/data", file, checksum=MD5) == file
    assert file.read_bytes() == CONTENT
    download(server.url + "/data", file, checksum=MD5)
    assert server.ranges == [None]
    assert list(file.parent.iterdir()) == [file]


def test_a_broken_connection_goes_on_where_it_broke(server, tmp_path):
    server.break_after = [100_000, 150_000]
    download(server.url + "/data", tmp_path / "file", checksum=MD5)
    assert (tmp_path / "file").read_bytes() == CONTENT
    assert server.ranges == [None, "bytes=100000-", "bytes=250000-"]


def test_a_later_call_goes_on_too(server, tmp_path):
    server.break_after = [100_000]
    with pytest.raises(ConnectionError, match="connection broke after 100000 of 300000 bytes"):
        download(server.url + "/data", tmp_path / "file", checksum=MD5, attempts=1)
    assert [file.name for file in tmp_path.iterdir()] == ["file.part"]
    download(server.url + "/data", tmp_path / "file", checksum=MD5)
    assert (tmp_path / "file").read_bytes() == CONTENT
    assert server.ranges == [None, "bytes=100000-"]


def test_a_server_that_knows_no_ranges_begins_anew(server, tmp_path):
    server.knows_ranges, server.break_after = False, [100_000]
    download(server.url + "/data", tmp_path / "file", checksum=MD5)
    assert (tmp_path / "file").read_bytes() == CONTENT


def test_a_part_that_is_whole_is_kept_and_one_that_is_too_long_is_not(server, tmp_path):
    (tmp_path / "file.part").write_bytes(CONTENT)
    download(server.url + "/data", tmp_path / "file", checksum=MD5)
    assert server.ranges == ["bytes=300000-"]
    (tmp_path / "other.part").write_bytes(CONTENT + b"more")
    download(server.url + "/data", tmp_path / "other", checksum=MD5)
    assert (tmp_path / "other").read_bytes() == CONTENT


def test_a_file_of_unknown_length_is_checked_by_its_sum(server, tmp_path):
    server.tells_length = False
    download(server.url + "/data", tmp_path / "file", checksum=MD5)
    server.break_after = [100_000]
    with pytest.raises(ValueError, match="has the checksum md5:"):
        download(server.url + "/data", tmp_path / "other", checksum=MD5)


def test_a_file_with_another_checksum_is_refused_and_deleted(server, tmp_path):
    server.files["/data"] = CONTENT[:-1] + b"?"
    with pytest.raises(ValueError, match=f"but should have {MD5}"):
        download(server.url + "/data", tmp_path / "file", checksum=MD5)
    assert list(tmp_path.iterdir()) == []
    with pytest.raises(ValueError, match="'crc:123' is not a checksum"):
        download(server.url + "/data", tmp_path / "file", checksum="crc:123")


def test_a_file_that_is_not_there_is_asked_for_once(server, tmp_path):
    with pytest.raises(ConnectionError, match="/none: HTTP Error 404"):
        download(server.url + "/none", tmp_path / "file")
    assert len(server.ranges) == 1


def test_without_a_network_the_message_says_what_to_do(tmp_path):
    with pytest.raises(ConnectionError, match=r"Without a network, get the file .* at .*file"):
        download("http://127.0.0.1:9/data", tmp_path / "file")
    with pytest.raises(ValueError, match="attempts is 0"):
        download("http://127.0.0.1:9/data", tmp_path / "file", attempts=0)


def test_the_penn_treebank_is_read_from_a_folder(tmp_path):
    for name, text in TEXTS.items():
        (tmp_path / name).write_text(text)
    train, valid, test, vocabulary = penn_treebank(tmp_path)
    assert vocabulary.tokens == (EOS, "the", UNK, "N", "dogs", "end", "said")
    words = ["the", UNK, "said", "N", "dogs", EOS, "the", "end", EOS]
    assert vocabulary.decode(train) == words
    assert vocabulary.decode(valid) == ["the", "dogs", "said", EOS]
    assert vocabulary.decode(test) == ["the", "end", EOS, "N", UNK, EOS]
    assert train.dtype == valid.dtype == test.dtype == np.uint8


def test_a_folder_without_it_is_told_how_to_get_it(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"no ptb\.train\.txt in .*fetch=True"):
        penn_treebank(tmp_path)


def test_the_penn_treebank_is_downloaded_into_the_folder(server, tmp_path, monkeypatch):
    for name, text in TEXTS.items():
        server.files["/" + name] = text.encode()
    with pytest.raises(ValueError, match="but should have md5:f26c4b92c5fdc7b3f8c7cdcb991d8420"):
        penn_treebank(tmp_path, fetch=True, url=server.url + "/")
    sums = {name: "md5:" + hashlib.md5(text.encode()).hexdigest() for name, text in TEXTS.items()}
    monkeypatch.setitem(penn_treebank.__globals__, "CHECKSUMS", sums)
    fetched = penn_treebank(tmp_path, fetch=True, url=server.url + "/")
    again = penn_treebank(tmp_path)
    for a, b in zip(fetched[:3], again[:3], strict=True):
        np.testing.assert_array_equal(a, b)
    assert fetched.vocabulary == again.vocabulary
