"""A hub in the test's own process: it speaks what `HfApi` needs to create a repository and commit, and keeps all."""

from __future__ import annotations

import base64
import json
import os
import subprocess
import sys
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from huggingface_hub import constants


class FakeHub:
    """Keeps bodies of create calls, commits as path -> bytes, cards it was asked to check, all paths, and tokens."""

    def __init__(self, refuse: str = "nothing"):
        self.created: list[dict] = []
        self.commits: list[dict[str, bytes]] = []
        self.asked: list[str] = []
        self.tokens: set[str | None] = set()
        self.checked: list[str] = []
        self.refuse = refuse

    def __enter__(self) -> FakeHub:
        hub = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self):
                body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
                hub.asked.append(self.path)
                hub.tokens.add(self.headers.get("Authorization"))
                status, said = hub.answer(self.path.partition("?")[0], body)
                self._say(status, said)

            def do_GET(self):
                hub.asked.append(self.path)
                self._say(404, {"error": "not here"})

            do_HEAD = do_GET

            def _say(self, status, said):
                text = json.dumps(said).encode()
                self.send_response(status)
                self.send_header("Content-Type", "application/json")
                self.send_header("Content-Length", str(len(text)))
                self.end_headers()
                if self.command != "HEAD":
                    self.wfile.write(text)

            def log_message(self, *args):
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_port}"
        self.thread = threading.Thread(target=self.server.serve_forever, daemon=True)
        self.thread.start()
        return self

    def __exit__(self, *exc):
        self.server.shutdown()
        self.server.server_close()
        self.thread.join()

    def answer(self, path: str, body: bytes) -> tuple[int, dict]:
        if f"/{self.refuse}" in path:
            return 401, {"error": "Invalid username or password."}
        if path == "/api/repos/create":
            asked = json.loads(body)
            self.created.append(asked)
            return 200, {"url": f"{self.url}/{asked.get('organization') or 'me'}/{asked['name']}"}
        if path == "/api/validate-yaml":
            self.checked.append(json.loads(body)["content"])
            return 200, {"errors": [], "warnings": []}
        if "/preupload/" in path:
            files = json.loads(body)["files"]
            return 200, {"files": [{"path": f["path"], "uploadMode": "regular", "shouldIgnore": False} for f in files]}
        if "/commit/" in path:
            lines = [json.loads(line) for line in body.splitlines()]
            files = [line["value"] for line in lines if line["key"] == "file"]
            self.commits.append({f["path"]: base64.b64decode(f["content"]) for f in files})
            repo = path.removeprefix("/api/models/").partition("/commit/")[0]
            return 200, {"success": True, "commitOid": "0" * 40, "commitUrl": f"{self.url}/{repo}/commit/{'0' * 40}"}
        return 404, {"error": f"nothing at {path}"}

    def be_the_only_one(self, monkeypatch) -> None:
        """Let this process reach this hub, and no other."""
        monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
        monkeypatch.setattr(constants, "ENDPOINT", self.url)
        monkeypatch.setattr("transformers.utils.hub._hf_api", None)  # made once, with the address of then
        monkeypatch.setenv("HF_TOKEN", "hf_fake")
        monkeypatch.setenv("NO_PROXY", "127.0.0.1")

    def run(self, *command: str) -> subprocess.CompletedProcess:
        """Run Python in a process that may reach this hub and no other; the client reads its address once."""
        env = {k: v for k, v in os.environ.items() if k != "HF_HUB_OFFLINE" and not k.lower().endswith("_proxy")}
        env |= {"HF_ENDPOINT": self.url, "HF_TOKEN": "hf_fake", "HF_HUB_DISABLE_TELEMETRY": "1", "DO_NOT_TRACK": "1"}
        return subprocess.run([sys.executable, *command], env=env, capture_output=True, text=True, timeout=200)
