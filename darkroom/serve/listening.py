"""Open the socket that a server listens on."""

import contextlib
import errno
import socket

from darkroom.core.errors import DarkroomError

BACKLOG = 2048  # connections that wait to be accepted


def bind(host: str, port: int) -> socket.socket:
    """A listening socket, which queues early connections. Raises DarkroomError if the address is not available."""
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(
            host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
        with contextlib.ExitStack() as on_error:
            bound = on_error.enter_context(socket.socket(family, kind, protocol))
            bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            bound.bind(address)
            bound.listen(BACKLOG)
            on_error.pop_all()
            return bound
    except (OSError, OverflowError, UnicodeError) as error:  # UnicodeError: a host name that IDNA refuses
        if isinstance(error, OSError) and error.errno == errno.EADDRINUSE:
            raise DarkroomError(
                f"--port {port} is already in use on {host}: stop the other process, or choose another --port."
            ) from error
        raise DarkroomError(
            f"Cannot listen on {host}, port {port} ({error}): choose another --host or --port."
        ) from error
