"""Write whole or not at all: who reads sees the old content or the new, whoever is killed."""

import stat
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """A path of the same name, which becomes ``path`` when the block ends without an error."""
    with tempfile.TemporaryDirectory(
        dir=path.parent, prefix=".writing.", ignore_cleanup_errors=True
    ) as folder:
        temporary = Path(folder) / path.name
        temporary.touch()
        usual = temporary.stat().st_mode  # which safetensors does not give
        temporary.unlink()
        yield temporary
        if temporary.is_file():
            temporary.chmod(stat.S_IMODE(usual))
        temporary.replace(path)


def write_bytes(path: Path, content: bytes) -> None:
    """Write bytes all at once."""
    with replacing(path) as temporary:
        temporary.write_bytes(content)


def write_text(path: Path, text: str) -> None:
    """Write UTF-8 text all at once."""
    write_bytes(path, text.encode())
