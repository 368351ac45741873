"""Addresses of this machine alone: what is served there has no password, so no other machine may be answered."""

from __future__ import annotations

import socket

from programs.errors import InputError

HOST = "127.0.0.1"
NAMES_OF_HOST = ("127.0.0.1", "localhost", "[::1]")  # which a browser may have been told; of no other machine


def listening(port: int) -> socket.socket:
    """Return a socket of this machine alone; connections from now on are served as soon as a server runs.

    Args:
        port: to listen on; with 0 any that is free.

    Raises:
        InputError: the port cannot be used.
    """
    listener = socket.socket()
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # or a port could not be used again for a minute
    try:
        listener.bind((HOST, port))
        listener.listen()
    except OSError as error:
        listener.close()
        said = (error.strerror or str(error)).lower()
        raise InputError(f"--port {port}: cannot be used ({said}); name another, or 0 for any that is free") from None
    return listener


def hosts_of(port: int) -> set[str]:
    """Return the hosts that requests may be for.

    A page of anybody's can have its own host name point here, and then read in the user's browser what is answered.
    """
    return {f"{name}:{port}" for name in NAMES_OF_HOST} | (set(NAMES_OF_HOST) if port == 80 else set())
