"""A Hub on loopback: enough of its protocol for the real client, with faults on demand and counts of what it served."""

import hashlib
import json
import threading
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

LARGE = {".safetensors", ".bin", ".model", ".parquet"}  # kept by LFS, as the Hub's .gitattributes say


@dataclass(frozen=True, slots=True, kw_only=True)
class Stored:
    """One file at one commit: `blob` is git's hash, `sha256` that of the content for a large file."""

    content: bytes | Path
    size: int
    blob: str
    sha256: str | None

    @property
    def etag(self) -> str:
        return self.sha256 or self.blob

    def read(self) -> bytes:
        return self.content if isinstance(self.content, bytes) else self.content.read_bytes()


def stored(name: str, content: bytes | Path) -> Stored:
    data = content if isinstance(content, bytes) else content.read_bytes()
    sha256 = hashlib.sha256(data).hexdigest() if Path(name).suffix in LARGE else None
    pointer = b"version https://git-lfs.github.com/spec/v1\noid sha256:%s\nsize %d\n" % (
        (sha256 or "").encode(),
        len(data),
    )
    kept = data if sha256 is None else pointer
    blob = hashlib.sha1(b"blob %d\0" % len(kept) + kept).hexdigest()
    return Stored(content=content, size=len(data), blob=blob, sha256=sha256)


@dataclass(slots=True)
class Fault:
    """What goes wrong with requests whose path contains the key it is filed under, the first `times` times.

    `status` answers with that code. `cut` closes the connection after so many bytes of a body, counted from the start
    of the file; `stall` sends nothing more after them. `content` is served in place of what the metadata promise.
    """

    status: int | None = None
    cut: int | None = None
    stall: int | None = None
    content: bytes | None = None
    times: float = float("inf")
    method: str = "GET"


@dataclass(slots=True)
class Repo:
    """Commits by hash, each a tree of files; branches and tags by name."""

    commits: dict[str, dict[str, Stored]] = field(default_factory=dict)
    branches: dict[str, str] = field(default_factory=dict)
    tags: dict[str, str] = field(default_factory=dict)

    def commit(self, revision: str) -> str | None:
        found = self.branches.get(revision) or self.tags.get(revision)
        return found or (revision if revision in self.commits else None)


class LoopbackHub:
    """`with LoopbackHub() as hub: hub.add("org/name", "step1000", {"config.json": b"{}"})`, then ask `hub.url`.

    `kind` is "models" or "datasets". `gated` and `private` name repositories that want a token in `tokens`.
    `requests` counts "METHOD path"; `bytes_served` adds up the bodies of files.
    """

    def __init__(self) -> None:
        self.repos: dict[tuple[str, str], Repo] = {}
        self.faults: dict[str, Fault] = {}
        self.gated: set[str] = set()
        self.private: set[str] = set()
        self.tokens = {"hf_good"}
        self.requests: Counter[str] = Counter()
        self.bytes_served = 0
        self.lock = threading.Lock()
        self.closing = threading.Event()
        self._server = _Server(("127.0.0.1", 0), type("Handler", (_Handler,), {"hub": self}))
        self.url = f"http://127.0.0.1:{self._server.server_port}"

    def __enter__(self) -> "LoopbackHub":
        threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self.closing.set()
        self._server.shutdown()
        self._server.server_close()

    def add(
        self,
        repo: str,
        revision: str = "main",
        files: Mapping[str, bytes | Path] | None = None,
        *,
        folder: Path | None = None,
        kind: str = "models",
    ) -> str:
        """Let branch `revision` point to a new commit with these files (or those of a folder); returns the commit."""
        contents = dict(files or {})
        if folder is not None:
            contents |= {str(p.relative_to(folder)): p for p in sorted(folder.rglob("*")) if p.is_file()}
        tree = {name: stored(name, content) for name, content in contents.items()}
        known = self.repos.setdefault((kind, repo), Repo())
        parts = [repo, revision, *(f"{name} {file.etag}" for name, file in sorted(tree.items()))]
        commit = hashlib.sha1("\n".join(parts).encode()).hexdigest()
        known.commits[commit] = tree
        known.branches[revision] = commit
        return commit

    def tag(self, repo: str, name: str, revision: str = "main", *, kind: str = "models") -> None:
        """Let tag `name` point to where `revision` points now."""
        known = self.repos[kind, repo]
        known.tags[name] = known.branches[revision]

    def count(self, part: str) -> int:
        """How many requests there were whose method and path contain `part`."""
        with self.lock:
            return sum(times for request, times in self.requests.items() if part in request)

    def environment(self, home: Path) -> dict[str, str]:
        """What a subprocess needs in its environment to take this for the Hub, with its caches below `home`."""
        return {
            "HF_ENDPOINT": self.url,
            "HF_HOME": str(home / "huggingface"),
            "HF_HUB_OFFLINE": "0",
            "TRANSFORMERS_OFFLINE": "0",
            "HF_HUB_DISABLE_XET": "1",
            "HF_HUB_DISABLE_TELEMETRY": "1",
            "PLIANT_CACHE": str(home / "pliant"),
        }

    def fault(self, method: str, path: str) -> Fault:
        """The fault that this request meets, used up by one; one that does nothing where there is none."""
        with self.lock:
            for part, fault in self.faults.items():
                if part in path and fault.method == method and fault.times > 0:
                    fault.times -= 1
                    return fault
        return Fault()


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    block_on_close = False
    request_queue_size = 128

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Clients may hang up; nothing is printed."""


class _Refused(Exception):
    def __init__(self, status: int, code: str, message: str) -> None:
        super().__init__(message)
        self.status, self.code = status, code


class _Handler(BaseHTTPRequestHandler):
    hub: LoopbackHub
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    wbufsize = -1  # headers and body leave together

    def do_GET(self) -> None:
        url = urlsplit(self.path)
        path, query = unquote(url.path), parse_qs(url.query)
        with self.hub.lock:
            self.hub.requests[f"{self.command} {path}"] += 1
        fault = self.hub.fault(self.command, path)
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        try:
            if fault.status is not None:
                raise _Refused(fault.status, "", "as asked")
            self._route(url.path, query | parse_qs(body.decode()), fault)
        except _Refused as refused:
            self._json({"error": str(refused)}, refused.status, {"X-Error-Code": refused.code} if refused.code else {})

    do_HEAD = do_POST = do_GET

    def log_message(self, format: str, *arguments: Any) -> None:
        """Nothing on the terminal."""

    def _route(self, path: str, query: Mapping[str, list[str]], fault: Fault) -> None:
        parts = [unquote(part) for part in path.strip("/").split("/")]
        if parts[:1] == ["api"] and parts[1] not in ("models", "datasets"):
            raise _Refused(404, "", "no such endpoint")
        if parts[0] == "api" and len(parts) == 2:
            self._search(parts[1], query)
        elif parts[0] == "api":
            self._api(parts[1], f"{parts[2]}/{parts[3]}", parts[4:], query)
        else:
            kind = parts.pop(0) if parts[0] == "datasets" else "models"
            self._resolve(kind, f"{parts[0]}/{parts[1]}", parts[3], "/".join(parts[4:]), fault)

    def _search(self, kind: str, query: Mapping[str, list[str]]) -> None:
        text, owner = query.get("search", [""])[0].lower(), query.get("author", [""])[0]
        names = [repo for known, repo in self.hub.repos if known == kind and text in repo.lower()]
        self._json([{"id": name} for name in names if name.startswith(f"{owner}/" if owner else "")])

    def _api(self, kind: str, repo: str, rest: list[str], query: Mapping[str, list[str]]) -> None:
        known = self._repo(kind, repo)
        match rest:
            case [] | ["revision", _]:
                self._info(repo, known, self._commit(known, rest[1] if rest else "main"))
            case ["refs"]:
                branches, tags = (
                    [{"name": name, "ref": f"refs/{where}/{name}", "targetCommit": commit} for name, commit in refs]
                    for where, refs in (("heads", known.branches.items()), ("tags", known.tags.items()))
                )
                self._json({"branches": branches, "tags": tags, "converts": []})
            case ["tree", revision, *folder]:
                entries = _entries(known.commits[self._commit(known, revision)])
                inside = "/".join(folder)
                wanted = [entry for entry in entries if entry["path"].startswith(f"{inside}/" if inside else "")]
                recursive = query.get("recursive", ["false"])[0].lower() in ("true", "1")
                depth = len(folder) + 1
                self._json([e for e in wanted if recursive or e["path"].count("/") + 1 == depth])
            case ["paths-info", revision]:
                entries = _entries(known.commits[self._commit(known, revision)])
                self._json([entry for entry in entries if entry["path"] in query.get("paths", [])])
            case _:
                raise _Refused(404, "", "no such endpoint")

    def _info(self, repo: str, known: Repo, commit: str) -> None:
        files = [{"rfilename": name} for name in known.commits[commit]]
        about = {"private": False, "gated": False, "disabled": False, "downloads": 0, "likes": 0, "tags": []}
        self._json({"_id": commit[:24], "id": repo, "sha": commit, "siblings": files, **about})

    def _resolve(self, kind: str, repo: str, revision: str, name: str, fault: Fault) -> None:
        known = self._repo(kind, repo)
        if repo in self.hub.gated and not self._trusted():
            raise _Refused(403, "GatedRepo", f"Access to {repo} is restricted")
        commit = self._commit(known, revision)
        file = known.commits[commit].get(name)
        if file is None:
            raise _Refused(404, "EntryNotFound", "Entry not found")
        headers = {"ETag": f'"{file.etag}"', "X-Repo-Commit": commit, "Accept-Ranges": "bytes"}
        if file.sha256 is not None:
            headers |= {"X-Linked-ETag": f'"{file.etag}"', "X-Linked-Size": str(file.size)}
        if self.command == "HEAD":
            self._send(200, headers, b"", length=file.size)
        else:
            self._body(file.read() if fault.content is None else fault.content, headers, fault)

    def _body(self, content: bytes, headers: dict[str, str], fault: Fault) -> None:
        first, last = 0, len(content) - 1
        asked = self.headers.get("Range", "").removeprefix("bytes=")
        if asked:
            start, _, end = asked.partition("-")
            first, last = int(start), min(int(end), last) if end else last
            headers |= {"Content-Range": f"bytes {first}-{last}/{len(content)}"}
        limit = next((bound for bound in (fault.cut, fault.stall) if bound is not None), last + 1)
        part = content[first : min(last + 1, max(limit, first))]
        with self.hub.lock:
            self.hub.bytes_served += len(part)
        self._send(206 if asked else 200, headers, part, length=last + 1 - first)
        if fault.stall is not None:
            self.hub.closing.wait()
        if fault.stall is not None or fault.cut is not None:
            self.close_connection = True

    def _repo(self, kind: str, repo: str) -> Repo:
        known = self.hub.repos.get((kind, repo))
        if known is None:
            raise _Refused(404, "RepoNotFound", "Repository not found")
        if repo in self.hub.private and not self._trusted():
            raise _Refused(401, "RepoNotFound", "Repository not found")
        return known

    def _commit(self, known: Repo, revision: str) -> str:
        commit = known.commit(revision)
        if commit is None:
            raise _Refused(404, "RevisionNotFound", f"Invalid rev id: {revision}")
        return commit

    def _trusted(self) -> bool:
        return self.headers.get("Authorization", "").removeprefix("Bearer ") in self.hub.tokens

    def _json(self, value: Any, status: int = 200, headers: Mapping[str, str] | None = None) -> None:
        body = json.dumps(value).encode()
        headers = {"Content-Type": "application/json", **(headers or {})}
        self._send(status, headers, b"" if self.command == "HEAD" else body, length=len(body))

    def _send(self, status: int, headers: Mapping[str, str], body: bytes, *, length: int) -> None:
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(length))
        self.end_headers()
        self.wfile.write(body)
        self.wfile.flush()


def _entries(tree: Mapping[str, Stored]) -> list[dict[str, Any]]:
    """The files of a tree and the folders they lie in, as the Hub's tree endpoint tells them."""
    folders = {str(parent) for name in tree for parent in Path(name).parents} - {"."}
    entries: list[dict[str, Any]] = [
        {"type": "directory", "path": folder, "oid": hashlib.sha1(folder.encode()).hexdigest(), "size": 0}
        for folder in sorted(folders)
    ]
    for name, file in tree.items():
        entry = {"type": "file", "path": name, "oid": file.blob, "size": file.size}
        if file.sha256 is not None:
            entry["lfs"] = {"oid": file.sha256, "size": file.size, "pointerSize": 134}
        entries.append(entry)
    return entries
