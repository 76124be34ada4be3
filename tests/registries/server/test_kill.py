"""A server that is killed while it is pushed to: what it has said yes to is there, and nothing is half."""

import http.client
import random
import shutil
import threading
from pathlib import Path

import pytest

from kit.images import Store
from kit.images.descriptor import digest_of
from tests.registries.servers import Program, ask, begin, manifest, program, push_blob, put

MOMENTS = 50
GONE = (OSError, http.client.HTTPException)


def push_until_it_is_gone(
    address: str, name: int, seed: int, blobs: dict[str, bytes], tags: dict[str, str]
) -> None:
    """Push images, and note what the registry has acknowledged, until nobody answers any more."""
    chance = random.Random(seed)
    number = 0
    while True:
        number += 1
        layers = [chance.randbytes(chance.choice((10, 5000, 100_000, 1_000_000))) for _ in range(2)]
        try:
            for data in (*layers, b"{}"):
                blobs[push_blob(address, f"r{name}", data)] = data
            tag, data = f"{seed}-{number}", manifest(*layers)
            if put(address, f"r{name}", tag, data).status == 201:
                tags[f"r{name}/manifests/{tag}"] = digest_of(data)
                blobs[digest_of(data)] = data
        except GONE:
            return


@pytest.mark.timeout(600)
def test_killed_at_any_moment(tmp_path: Path) -> None:
    """One storage, a server after the other; the next one is asked for all that was acknowledged before."""
    storage, chance = tmp_path / "storage", random.Random(7)
    Store(storage)  # so that it is not new: no base images
    blobs: list[dict[str, bytes]] = [{}, {}]
    tags: list[dict[str, str]] = [{}, {}]
    for moment in range(MOMENTS):
        server = Program(storage)
        try:
            writers = [
                threading.Thread(
                    target=push_until_it_is_gone,
                    args=(server.address, one, moment * 10 + one, blobs[one], tags[one]),
                )
                for one in range(2)
            ]
            for writer in writers:
                writer.start()
            threading.Event().wait(chance.uniform(0.0, 0.4))
        finally:
            server.kill()
        for writer in writers:
            writer.join()
    assert sum(map(len, tags)) > MOMENTS / 5, "too little was acknowledged for a test"
    store = Store(storage)
    for digest in store.digests():
        with store.open(digest) as file:  # raises for one that is half
            while file.read(1_000_000):
                pass
    with program(storage) as server:
        for one in range(2):
            for name, digest in tags[one].items():
                reply = ask(server.address, "GET", f"/v2/{name}")
                assert (reply.status, reply.body) == (200, blobs[one][digest])
            for digest, data in blobs[one].items():
                if data.startswith(b'{"schema'):
                    continue
                reply = ask(server.address, "GET", f"/v2/r{one}/blobs/{digest}")
                assert (reply.status, reply.body) == (200, data)
    shutil.rmtree(storage)


def test_an_upload_goes_on_after_a_kill(tmp_path: Path) -> None:
    data = random.Random(1).randbytes(3_000_000)
    digest = digest_of(data)
    Store(tmp_path / "storage")
    with program(tmp_path / "storage") as server:
        location = begin(server.address, "a")
        assert ask(server.address, "PATCH", location, data[:1_000_000]).status == 202
    with program(tmp_path / "storage") as server:
        reply = ask(server.address, "GET", location)
        assert (reply.status, reply.headers["Range"]) == (204, "0-999999")
        rest = {"Content-Range": f"1000000-{len(data) - 1}"}
        assert ask(server.address, "PATCH", reply.headers["Location"], data[1_000_000:], rest).status == 202
    with program(tmp_path / "storage") as server:
        assert ask(server.address, "PUT", f"{location}?digest={digest}").status == 201
        assert ask(server.address, "GET", f"/v2/a/blobs/{digest}").body == data
