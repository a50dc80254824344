"""The command ``canaryd``."""

from __future__ import annotations


def main() -> None:
    """Run the command line. Nothing heavy is imported before the subcommand is known."""
    from canaryd.cli import app

    app()


if __name__ == "__main__":
    main()
