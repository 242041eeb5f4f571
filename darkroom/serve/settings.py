"""How the service runs."""

import ipaddress
import re
from dataclasses import dataclass, field
from pathlib import Path

from darkroom.core.errors import DarkroomError
from darkroom.core.processor import cores

KEY_VARIABLE = "DARKROOM_API_KEY"
_KEY = "[!-~]+"  # visible ASCII characters


@dataclass(frozen=True)
class Settings:
    """Every option with its default."""

    bundle: Path = Path("models/bundle")
    variant: str = "fp32"  # or int8
    host: str = "127.0.0.1"
    port: int = 8000
    threads: int = field(default_factory=cores)  # each works on one picture at a time
    queue: int = 128  # pictures in the service at the same time, those that wait with those that are worked on
    timeout: float = 5.0  # seconds for a request to arrive, and again for its answer
    max_bytes: int = 16 * 2**20  # of a request's body
    max_pixels: int = (
        25_000_000  # of one picture, where the bundle allows so many: to decode one takes up to 26 bytes a pixel
    )
    max_files: int = 32  # of one request
    drain_delay: float = 1.0  # seconds at SIGTERM from "not ready" to a closed door
    log_format: str = "json"  # or text, off
    allow_reload: bool = False
    allow_anonymous: bool = False
    api_key: str | None = field(default=None, repr=False)


def check(settings: Settings) -> None:
    """Raises DarkroomError for a service that would be open to strangers, or closed to all."""
    if settings.api_key and not re.fullmatch(_KEY, settings.api_key):
        raise DarkroomError(
            f"The key in {KEY_VARIABLE} holds a space, a line end or another character that headers do not carry: make one of visible ASCII characters alone."
        )
    if not settings.api_key and not settings.allow_anonymous and not _is_loopback(settings.host):
        raise DarkroomError(
            f"Whoever reaches {settings.host} could use the service: set {KEY_VARIABLE} to a key that clients have to send, or allow it with --allow-anonymous."
        )


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
