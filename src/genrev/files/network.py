"""Whether the hub can be asked: its libraries try for half a minute where it cannot."""

import os
import socket
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from urllib.parse import urlparse

_OFFLINE = "HF_HUB_OFFLINE"


@contextmanager
def hub_or_cache() -> Iterator[None]:
    """Within it, the hub's libraries take what they have, or fail at once, without a network."""
    with ExitStack() as stack:
        if not _reachable():
            modules = ("huggingface_hub.constants", "datasets.config")
            for module in (sys.modules[name] for name in modules if name in sys.modules):
                stack.callback(setattr, module, _OFFLINE, getattr(module, _OFFLINE))
                setattr(module, _OFFLINE, True)
        yield


def _reachable() -> bool:
    """Whether there is an address of the hub; a proxy would know it, and is not asked."""
    from huggingface_hub import constants

    if any(os.environ.get(name) for name in ("HTTPS_PROXY", "https_proxy", "ALL_PROXY")):
        return True
    try:
        socket.getaddrinfo(urlparse(constants.ENDPOINT).hostname, 443)
    except OSError:
        return False
    return True
