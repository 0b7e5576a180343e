"""Output survives whatever encoding the terminal, the file or the pipe has."""

import codecs
import sys

__all__ = ["print_in_any_encoding"]

_RULE = "genrev"
_BYTES = range(0xDC80, 0xDD00)  # how Python writes bytes of file names that are no text


def print_in_any_encoding() -> None:
    """From here on, characters that stdout or stderr do not have are written as escapes."""
    codecs.register_error(_RULE, _escaped)
    for stream in (sys.stdout, sys.stderr):
        reconfigure = getattr(stream, "reconfigure", None)  # pythonw has no stream at all
        if reconfigure is not None:
            reconfigure(errors=_RULE)


def _escaped(error: UnicodeError) -> tuple[bytes | str, int]:
    """Bytes of file names as they are, so that a printed path is the file's; others escaped."""
    if not isinstance(error, UnicodeEncodeError):
        raise error
    bad = error.object[error.start : error.end]
    if all(ord(c) in _BYTES for c in bad):
        return bytes(ord(c) - 0xDC00 for c in bad), error.end
    return bad.encode("ascii", "backslashreplace").decode("ascii"), error.end
