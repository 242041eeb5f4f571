"""The options of the service and their defaults."""

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
    """All options of the service."""

    bundle: Path = Path("models/bundle")
    variant: str = "fp32"  # or int8
    host: str = "127.0.0.1"
    port: int = 8000
    threads: int = field(default_factory=cores)  # one image per thread
    queue: int = 128  # images in the service, waiting or in progress
    timeout: float = 5.0  # seconds for a request to arrive, and again for its response
    max_bytes: int = 32 * 2**20  # per request body
    max_pixels: int | None = None  # per image; None: the bundle's limit, which also holds otherwise
    max_files: int = 32  # per request
    drain_delay: float = 1.0  # seconds between SIGTERM and refusing new connections
    log_format: str = "json"  # or text, off
    allow_reload: bool = False
    allow_anonymous: bool = False
    api_key: str | None = field(default=None, repr=False)


def check(settings: Settings) -> None:
    """Raise DarkroomError if the API key is unusable, or if others could reach the service without a key."""
    if settings.api_key and not re.fullmatch(_KEY, settings.api_key):
        raise DarkroomError(
            f"{KEY_VARIABLE} contains a character that an HTTP header cannot carry, such as a space or a line break: "
            "use visible ASCII characters only."
        )
    if not settings.api_key and not settings.allow_anonymous and not _is_loopback(settings.host):
        raise DarkroomError(
            f"--host {settings.host} can be reached from other machines, but {KEY_VARIABLE} is not set: "
            "set it to a key that clients must send, or use --allow-anonymous."
        )


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
