"""Chapter 06: an engine, to which the real ``docker`` command and the Docker SDK speak.

    with serve(socket, data_root) as engine:
        engine.watch(print)

It stands on the images of chapter 05, the registries of chapter 07 and the containers beside it; what it
says and is told is the Docker Engine API, over HTTP on a Unix socket.
"""

from kit.engine.server import Engine, serve
from kit.engine.wire import Exchange

__all__ = ["Engine", "Exchange", "serve"]
