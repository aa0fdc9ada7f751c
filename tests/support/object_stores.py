"""Object stores for tests: one in this process, and a server that speaks S3."""

import contextlib
import os
import socket
import subprocess
import sys
import time
import urllib.request

import fsspec


@contextlib.contextmanager
def memory_store():
    """The URL of an empty store in this process."""
    files = fsspec.filesystem("memory")
    files.store.clear()
    files.pseudo_dirs[:] = [""]
    try:
        yield "memory://bucket/results"
    finally:
        files.store.clear()
        files.pseudo_dirs[:] = [""]


def free_port():
    """A port of this machine that nothing listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


@contextlib.contextmanager
def s3_server(port):
    """Environment in which s3://bucket is an empty bucket of a server on this machine."""
    endpoint = f"http://127.0.0.1:{port}"
    command = [sys.executable, "-c", f"from moto.server import main; main(['-H', '127.0.0.1', '-p', '{port}'])"]
    server = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    environment = {
        "AWS_ACCESS_KEY_ID": "test",
        "AWS_SECRET_ACCESS_KEY": "test",
        "AWS_DEFAULT_REGION": "us-east-1",
        "AWS_ENDPOINT_URL": endpoint,
    }
    try:
        for _ in range(600):
            with contextlib.suppress(OSError):
                urllib.request.urlopen(f"{endpoint}/moto-api/", timeout=5).close()
                break
            assert server.poll() is None
            time.sleep(0.2)
        urllib.request.urlopen(urllib.request.Request(f"{endpoint}/bucket", method="PUT"), timeout=30).close()
        yield os.environ | environment
    finally:
        server.kill()
        server.wait()


def machine(tmp_path, name):
    """An empty current folder of another machine."""
    (tmp_path / name).mkdir()
    return tmp_path / name
