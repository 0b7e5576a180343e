"""Without a network the hub's libraries are told so, and only as long as it takes."""

import socket

import pytest
from huggingface_hub import constants

from genrev.files.network import hub_or_cache


@pytest.fixture(autouse=True)
def _no_proxy(monkeypatch):
    for name in ("HTTPS_PROXY", "https_proxy", "ALL_PROXY"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)


def unknown(*_):
    raise socket.gaierror(-2, "Name or service not known")


def test_without_an_address_nothing_is_asked(monkeypatch):
    monkeypatch.setattr(socket, "getaddrinfo", unknown)
    with hub_or_cache():
        assert constants.HF_HUB_OFFLINE
    assert not constants.HF_HUB_OFFLINE


def test_a_network_or_a_proxy_is_asked(monkeypatch):
    monkeypatch.setattr(socket, "getaddrinfo", lambda *_: [])
    with hub_or_cache():
        assert not constants.HF_HUB_OFFLINE
    monkeypatch.setattr(socket, "getaddrinfo", unknown)
    monkeypatch.setenv("HTTPS_PROXY", "http://proxy:3128")
    with hub_or_cache():
        assert not constants.HF_HUB_OFFLINE
