"""``python -m genrev`` is the ``genrev`` command."""

import sys


def main() -> int:
    """Run the command; Ctrl-C ends it as cleanly while it is still imported."""
    try:
        from genrev.cli.main import main as run
    except KeyboardInterrupt:
        print("genrev: interrupted.", file=sys.stderr)
        return 130
    return run()


if __name__ == "__main__":
    sys.exit(main())
