"""An object store on this machine that speaks enough of S3: list, read, write, delete; some buckets refuse."""

from __future__ import annotations

import contextlib
import hashlib
import threading
from collections.abc import Iterator
from email.utils import formatdate
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qs, unquote, urlsplit
from xml.sax.saxutils import escape

TIME = 1_700_000_000  # s, when an object was written that was not written again
BUCKETS = ("speech", "secret")  # the second refuses everybody


class Store(ThreadingHTTPServer):
    """``objects`` maps ``bucket/key`` to content; it refuses to write more than ``room``."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.objects: dict[str, bytes] = {}
        self.written: list[str] = []
        self.room = 1000

    @property
    def address(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}"


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: Store  # pyright: ignore[reportIncompatibleVariableOverride]

    def log_message(self, format: str, *arguments: object) -> None:
        pass

    def do_HEAD(self) -> None:
        self._serve()

    def do_GET(self) -> None:
        self._serve()

    def do_PUT(self) -> None:
        self._serve()

    def do_DELETE(self) -> None:
        self._serve()

    def _serve(self) -> None:
        url = urlsplit(self.path)
        name = unquote(url.path).strip("/")
        bucket = name.partition("/")[0]
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        if bucket == "secret" or (self.command == "PUT" and len(self.server.written) >= self.server.room):
            self._refuse(403, "AccessDenied")
        elif bucket not in BUCKETS:
            self._refuse(404, "NoSuchBucket")
        elif self.command == "PUT":
            assert "aws-chunked" not in self.headers.get("Content-Encoding", "")
            self.server.objects[name] = body
            self.server.written.append(name)
            self._answer(200, b"", {"ETag": etag(body)})
        elif self.command == "DELETE":
            self.server.objects.pop(name, None)
            self._answer(204, b"")
        elif name == bucket:
            self._answer(200, self._listing(bucket, {key: each[0] for key, each in parse_qs(url.query).items()}))
        elif name not in self.server.objects:
            self._refuse(404, "NoSuchKey")
        else:
            self._object(self.server.objects[name])

    def _object(self, content: bytes) -> None:
        about = {"ETag": etag(content), "Last-Modified": formatdate(TIME, usegmt=True)}
        if wanted := self.headers.get("Range"):
            first, _, last = wanted.removeprefix("bytes=").partition("-")
            part = content[int(first) : int(last or len(content)) + 1]
            about["Content-Range"] = f"bytes {first}-{int(first) + len(part) - 1}/{len(content)}"
            self._answer(206, part, about)
        else:
            self._answer(200, content, about)

    def _listing(self, bucket: str, query: dict[str, str]) -> bytes:
        """Two keys a page, so that what reads it has to turn pages."""
        prefix, delimiter = query.get("prefix", ""), query.get("delimiter", "")
        keys = [name.partition("/")[2] for name in sorted(self.server.objects) if name.startswith(f"{bucket}/{prefix}")]
        entries: dict[str, str] = {}
        for key in keys:
            rest = key[len(prefix) :]
            if delimiter and delimiter in rest:
                folder = escape(prefix + rest.partition(delimiter)[0] + delimiter)
                entries[folder] = f"<CommonPrefixes><Prefix>{folder}</Prefix></CommonPrefixes>"
            else:
                content = self.server.objects[f"{bucket}/{key}"]
                entries[key] = (
                    f"<Contents><Key>{escape(key)}</Key><LastModified>2023-11-14T22:13:20.000Z</LastModified>"
                    f"<ETag>{escape(etag(content))}</ETag><Size>{len(content)}</Size></Contents>"
                )
        start = int(query.get("continuation-token", 0))
        page = list(entries.values())[start : start + 2]
        more = start + 2 < len(entries)
        token = f"<NextContinuationToken>{start + 2}</NextContinuationToken>" if more else ""
        return (
            f'<?xml version="1.0"?><ListBucketResult><Name>{bucket}</Name><Prefix>{escape(prefix)}</Prefix>'
            f"<KeyCount>{len(page)}</KeyCount><IsTruncated>{str(more).lower()}</IsTruncated>{token}"
            f"{''.join(page)}</ListBucketResult>"
        ).encode()

    def _refuse(self, code: int, what: str) -> None:
        self._answer(code, f'<?xml version="1.0"?><Error><Code>{what}</Code><Message>{what}</Message></Error>'.encode())

    def _answer(self, code: int, body: bytes, headers: dict[str, str] | None = None) -> None:
        self.send_response(code)
        for name, value in (headers or {}).items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)


def etag(content: bytes) -> str:
    return f'"{hashlib.md5(content).hexdigest()}"'


@contextlib.contextmanager
def serving() -> Iterator[Store]:
    """A store that is there while the block runs."""
    with Store() as store:
        thread = threading.Thread(target=store.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
        thread.start()
        try:
            yield store
        finally:
            store.shutdown()
            thread.join(30)
