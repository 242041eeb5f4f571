"""Tests of the API key and of the check of the host."""

import pytest

from darkroom.core.errors import DarkroomError
from darkroom.serve.settings import Settings, check


@pytest.mark.parametrize("host", ["127.0.0.1", "127.9.9.9", "::1", "localhost"])
def test_a_loopback_host_needs_no_key(host: str):
    check(Settings(host=host))


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.168.0.1", "", "example.org", "localhost.example.org"])
@pytest.mark.parametrize("key", [None, ""])
def test_other_hosts_need_a_key(host: str, key: str | None):
    with pytest.raises(DarkroomError, match="DARKROOM_API_KEY"):
        check(Settings(host=host, api_key=key))
    check(Settings(host=host, api_key="a-key"))
    check(Settings(host=host, allow_anonymous=True))


def test_the_key_is_not_in_the_representation():
    assert "a-key" not in repr(Settings(api_key="a-key"))


@pytest.mark.parametrize("key", ["a-key\n", " a-key", "a key", "\t", "clé", "a\0key", "\udc80"])
def test_a_key_that_headers_cannot_carry(key: str):
    with pytest.raises(DarkroomError, match="DARKROOM_API_KEY") as raised:
        check(Settings(api_key=key))
    assert key not in str(raised.value)


def test_all_visible_ascii_characters_are_allowed_in_a_key():
    check(Settings(api_key="".join(map(chr, range(ord("!"), ord("~") + 1)))))
