"""Downloads from a local server: whole, resumed, damaged, unreachable."""

import hashlib
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from tools import download
from tools.download import Source, main

ROOT = Path(__file__).resolve().parents[2]
CONTENT = bytes(range(256)) * 4000
SUM = hashlib.sha256(CONTENT).hexdigest()


class Server(ThreadingHTTPServer):
    cut_after: int | None = None  # bytes of the next answer
    stated = SUM
    ranges = True
    requests: list[str]


class Handler(BaseHTTPRequestHandler):
    """/file with ranges; /hub, which redirects there with a checksum."""

    def do_GET(self) -> None:
        server: Server = self.server
        if self.path == "/hub":
            self.send_response(302)
            self.send_header("Location", "/file")
            self.send_header("X-Linked-Etag", f'"{server.stated}"')
            self.end_headers()
            return
        if self.path != "/file":
            self.send_error(404)
            return
        wanted = self.headers.get("Range") if server.ranges else None
        server.requests.append(wanted or "all")
        start = int(wanted.removeprefix("bytes=").rstrip("-")) if wanted else 0
        if start >= len(CONTENT):
            self.send_error(416)
            return
        self.send_response(206 if wanted else 200)
        self.send_header("Content-Length", str(len(CONTENT) - start))
        self.end_headers()
        cut, server.cut_after = server.cut_after, None
        self.wfile.write(CONTENT[start:] if cut is None else CONTENT[start : start + cut])

    def log_message(self, *message: object) -> None:
        pass


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    server = Server(("127.0.0.1", 0), Handler)
    server.requests = []
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    address = f"http://127.0.0.1:{server.server_port}"
    sources = {
        "A": Source("page", "MIT", "use", "a.pth", f"{address}/file", SUM),
        "Hub": Source("page", "MIT", "use", "hub.safetensors", f"{address}/hub"),
        "Gone": Source("page", "MIT", "use", "gone.pth", f"{address}/gone"),
        "Page": Source("https://a.page/of/weights", "non-commercial", "use"),
    }
    monkeypatch.setattr(download, "SOURCES", sources)
    for proxy in ("http_proxy", "HTTP_PROXY"):
        monkeypatch.delenv(proxy, raising=False)
    yield server
    server.shutdown()
    thread.join()
    server.server_close()


def test_files_are_fetched_checked_and_taken_as_they_are(server: Server, tmp_path: Path, capsys) -> None:
    assert main(["A", "Hub", "--output-dir", str(tmp_path / "new")]) == 0
    assert (tmp_path / "new" / "a.pth").read_bytes() == (tmp_path / "new" / "hub.safetensors").read_bytes() == CONTENT
    assert f"{tmp_path / 'new' / 'a.pth'}: 1.0 MB; licence MIT; use" in capsys.readouterr().out
    assert main(["A", "--output-dir", str(tmp_path / "new")]) == 0
    assert server.requests == ["all", "all"]
    assert sorted(path.name for path in (tmp_path / "new").iterdir()) == ["a.pth", "hub.safetensors"]


@pytest.mark.parametrize("ranges", [True, False])
def test_an_interrupted_download_goes_on(server: Server, tmp_path: Path, caplog, ranges: bool) -> None:
    server.cut_after, server.ranges = 300_000, ranges
    assert main(["A", "--output-dir", str(tmp_path)]) == 1
    assert "run the command again to go on" in caplog.text
    assert [path.name for path in tmp_path.iterdir()] == [".a.pth.part"]
    assert main(["A", "--output-dir", str(tmp_path)]) == 0
    assert (tmp_path / "a.pth").read_bytes() == CONTENT
    assert server.requests == ["all", "bytes=300000-" if ranges else "all"]


def test_damage_is_noticed_and_removed(server: Server, tmp_path: Path, caplog) -> None:
    (tmp_path / ".a.pth.part").write_bytes(b"not its beginning")
    assert main(["A", "--output-dir", str(tmp_path)]) == 1
    assert f"instead of {SUM}; it was removed: run the command again" in caplog.text
    server.stated = "0" * 64
    assert main(["Hub", "--output-dir", str(tmp_path)]) == 1
    assert not list(tmp_path.iterdir())
    (tmp_path / ".a.pth.part").write_bytes(CONTENT + b"longer than the file is now")
    assert main(["A", "--output-dir", str(tmp_path)]) == 0
    (tmp_path / "a.pth").write_bytes(b"of somebody else")
    assert main(["A", "--output-dir", str(tmp_path)]) == 1
    assert (tmp_path / "a.pth").read_bytes() == b"of somebody else"


def test_what_cannot_be_fetched_is_told_in_one_line(server: Server, tmp_path: Path, caplog) -> None:
    assert main(["Page", "Gone", "--output-dir", str(tmp_path)]) == 1
    assert "Page: has no stable address; open https://a.page/of/weights in a browser (licence: non-comm" in caplog.text
    assert "/gone: not fetched (Not Found)" in caplog.text
    assert main(["Nothing"]) == 2
    assert "unknown weights Nothing; there are A, Hub, Gone, Page" in caplog.text
    assert not list(tmp_path.iterdir())


def test_without_a_name_all_are_listed(capsys) -> None:
    assert main([]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[0] for line in lines] == list(download.SOURCES)


def test_the_page_of_models_names_each_file_and_its_licence() -> None:
    page = (ROOT / "docs" / "models.md").read_text()
    for name, source in download.SOURCES.items():
        row = next(line for line in page.splitlines() if line.startswith(f"| `{name}` |"))
        assert source.licence in row and source.page in row and (source.file or "browser") in row
