"""Serve the page on this machine and to nobody else, unless asked to.

The page needs no network: fonts are those of the system, pictures are part of the page, and
gradio's analytics and its check for a newer version are off.
"""

import os
import signal
import socket
import tempfile
import threading
from collections.abc import Sequence

import torch

from genrev.app.exhibit import Exhibit
from genrev.errors import GenrevError

HOST = "127.0.0.1"
PORT = 7860
_MORE_PORTS = 100  # tried from PORT on, unless one was asked for
_NO_TUNNEL = "There is no public address, because the tunnel could not be made; is there a network?"


def serve(exhibits: Sequence[Exhibit], port: int | None = None, share: bool = False) -> None:
    """Show models until Ctrl-C or SIGTERM; by default on the first free port from 7860 on."""
    number = _free_port(port)
    if "OMP_NUM_THREADS" not in os.environ:
        # A slider decodes one image. Where other programs keep the cores busy, threads wait for
        # each other: two of them took 970 ms beside a training, and one 30 ms.
        torch.set_num_threads(1)
    with tempfile.TemporaryDirectory(prefix="genrev-app-") as uploads:
        os.environ |= {"GRADIO_ANALYTICS_ENABLED": "False", "GRADIO_TEMP_DIR": uploads}
        from genrev.app.page import build_page, launch

        page = build_page(exhibits)
        try:
            address, public = launch(page, HOST, number, share)
            print(f"The explorer is at {address} and ends with Ctrl-C.", flush=True)
            if share:
                told = f"Anyone who knows it can use {public}." if public else _NO_TUNNEL
                print(told, flush=True)
            _wait()
        finally:
            page.close(verbose=False)


def _free_port(port: int | None) -> int:
    if port is not None and not 0 <= port < 2**16:
        raise GenrevError(f"--port is a number from 0 to {2**16 - 1} and is {port}.")
    for candidate in range(PORT, PORT + _MORE_PORTS) if port is None else [port]:
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind((HOST, candidate))
            except (OSError, OverflowError):
                continue
            return candidate
    if port is None:
        raise GenrevError(
            f"The ports {PORT} to {PORT + _MORE_PORTS - 1} are all taken; name a free one with "
            "--port."
        )
    raise GenrevError(
        f"Port {port} cannot be used, for another program has it or the system keeps it; name "
        "another with --port, or leave --port out."
    )


def _wait() -> None:
    """Until somebody asks the process to end; the server runs in a thread of its own."""
    ended = threading.Event()
    before = {
        number: signal.signal(number, lambda *_: ended.set())
        for number in (signal.SIGINT, signal.SIGTERM)
    }
    try:
        ended.wait()
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
