"""What a command has printed."""


def spoken(capsys):
    """Standard output, and standard error but for the lines that tell device and data."""
    captured = capsys.readouterr()
    lines = captured.err.splitlines(keepends=True)
    return captured.out, "".join(
        line for line in lines if not line.startswith(("device ", "data ", "model ", "training "))
    )
