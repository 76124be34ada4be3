"""JSON and open descriptors over a Unix socket, a message at a time. See unix(7), SCM_RIGHTS."""

from __future__ import annotations

import json
import os
import socket
from array import array
from typing import Any


def receive(sock: socket.socket) -> tuple[Any, list[int]] | None:
    """One message (a length, JSON) with the descriptors that came along; None at the end."""
    fds = array("i")
    # Python's recv_fds has no way to ask for close-on-exec
    header, ancillary, _, _ = sock.recvmsg(4, socket.CMSG_LEN(32 * fds.itemsize), socket.MSG_CMSG_CLOEXEC)
    for _, _, data in ancillary:
        fds.frombytes(data)
    body = b""
    if len(header) == 4:
        length = int.from_bytes(header, "little")
        while len(body) < length and (part := sock.recv(length - len(body))):
            body += part
        if len(body) == length:
            return json.loads(body), list(fds)
    for fd in fds:  # the other end died in the middle
        os.close(fd)
    return None


def send(sock: socket.socket, message: Any, fds: list[int]) -> None:
    """The counterpart of :func:`receive`. A short message goes in one piece, whoever else sends."""
    body = json.dumps(message).encode()
    whole = len(body).to_bytes(4, "little") + body
    sent = socket.send_fds(sock, [whole], fds)
    if sent < len(whole):  # sending nothing could fail: the other end may have gone, satisfied
        sock.sendall(whole[sent:])
