"""A real S3-speaking server on loopback (SeaweedFS), and a proxy in front of it that can be told to fail.

with S3Server(folder) as server, S3Proxy(server.port) as proxy:
    environment = server.environment(proxy.port)
    proxy.fault = "cut"
"""

from __future__ import annotations

import json
import socket
import socketserver
import subprocess
import sysconfig
import threading
import time
import urllib.error
import urllib.request
from pathlib import Path
from typing import Literal

from tests.ports import free_ports

KEY, SECRET = "capfilt-tests", "not-a-secret-of-anybody"
BUCKET = "corpus"
READY = 60.0
"""Seconds that the server may take to start."""
Fault = Literal["", "cut", "refuse", "slow", "busy"]
"""Cut in the middle of a transfer, refused, slow, or answered `503 Slow Down`."""


class S3Server:
    """SeaweedFS in one process, with one bucket, below a folder."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self.port = 0

    def __enter__(self) -> S3Server:
        self._folder.mkdir(parents=True, exist_ok=True)
        identity = {
            "name": "tests",
            "credentials": [{"accessKey": KEY, "secretKey": SECRET}],
            "actions": ["Admin", "Read", "Write", "List", "Tagging"],
        }
        config = self._folder / "s3.json"
        config.write_text(json.dumps({"identities": [identity]}))
        names = ["master.port", "master.port.grpc", "volume.port", "volume.port.grpc", "filer.port", "filer.port.grpc"]
        *ports, self.port, grpc = free_ports(len(names) + 2)
        weed = Path(sysconfig.get_path("scripts")) / "weed"
        command = [str(weed), "server", f"-dir={self._folder}", "-ip=127.0.0.1", "-ip.bind=127.0.0.1"]
        command += [f"-{name}={port}" for name, port in zip(names, ports, strict=True)]
        command += ["-filer", "-s3", f"-s3.port={self.port}", f"-s3.port.grpc={grpc}", "-s3.port.iceberg=0"]
        command += ["-s3.port.lance=0", "-s3.autoCreateBucket=false", "-s3.iam=false", f"-s3.config={config}"]
        command += ["-master.telemetry=false", "-master.volumeSizeLimitMB=64", "-volume.max=100"]
        with (self._folder / "log").open("wb") as log:
            self._process = subprocess.Popen(command, stdout=log, stderr=log)
        try:
            self._wait()
        except BaseException:
            self._process.kill()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self._process.kill()
        self._process.wait()

    def environment(self, port: int | None = None) -> dict[str, str]:
        """What a client finds the server by, as usual; `port` is that of a proxy in front of it."""
        return {
            "AWS_ACCESS_KEY_ID": KEY,
            "AWS_SECRET_ACCESS_KEY": SECRET,
            "AWS_ENDPOINT_URL": f"http://127.0.0.1:{port or self.port}",
            "AWS_DEFAULT_REGION": "us-east-1",
            "AWS_EC2_METADATA_DISABLED": "true",
        }

    def _wait(self) -> None:
        """Until a bucket can be made and written."""
        import s3fs

        client = s3fs.S3FileSystem(
            key=KEY,
            secret=SECRET,
            endpoint_url=f"http://127.0.0.1:{self.port}",
            client_kwargs={"region_name": "us-east-1"},
            skip_instance_cache=True,
        )
        deadline = time.monotonic() + READY
        while True:
            try:
                urllib.request.urlopen(f"http://127.0.0.1:{self.port}/status", timeout=1).close()
                if not client.exists(BUCKET):
                    client.mkdir(BUCKET)
                client.pipe_file(f"{BUCKET}/ready", b"")
                client.rm_file(f"{BUCKET}/ready")
            except OSError:
                if self._process.poll() is not None or time.monotonic() > deadline:
                    raise RuntimeError((self._folder / "log").read_text()[-2000:]) from None
                time.sleep(0.1)
            else:
                return


class S3Proxy:
    """Hands connections on to a port of loopback, unless `fault` says otherwise."""

    def __init__(self, target: int) -> None:
        self._target = target
        self.fault: Fault = ""
        self.faults = 0
        """How often it did harm."""

    def __enter__(self) -> S3Proxy:
        proxy = self

        class Handler(socketserver.BaseRequestHandler):
            def handle(self) -> None:
                proxy.serve(self.request)

        class Server(socketserver.ThreadingTCPServer):
            daemon_threads = True
            allow_reuse_address = True

        self._server = Server(("127.0.0.1", 0), Handler)
        self.port = int(self._server.server_address[1])
        threading.Thread(target=self._server.serve_forever, daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()

    def serve(self, client: socket.socket) -> None:
        """One connection, to its end or to the fault."""
        if self.fault == "refuse":
            self.faults += 1
            return
        with socket.create_connection(("127.0.0.1", self._target)) as server:
            back = threading.Thread(target=self._pass_on, args=(server, client), daemon=True)
            back.start()
            self._pass_on(client, server)
            back.join()

    def _pass_on(self, source: socket.socket, target: socket.socket) -> None:
        try:
            while data := source.recv(65536):
                if not self._let_through(source, target, data):
                    break
        except OSError:  # the other side of the connection has ended it
            pass
        finally:
            for end in (source, target):
                try:
                    end.shutdown(socket.SHUT_RDWR)
                except OSError:
                    continue

    def _let_through(self, source: socket.socket, target: socket.socket, data: bytes) -> bool:
        fault = self.fault
        if fault:
            self.faults += 1
        if fault == "cut":
            target.sendall(data[: len(data) // 2])
            return False
        if fault == "busy" and data[:4] in (b"PUT ", b"GET ", b"POST", b"HEAD", b"DELE"):
            source.sendall(b"HTTP/1.1 503 Slow Down\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")
            return False
        if fault == "slow":
            time.sleep(0.2)
        target.sendall(data)
        return True
