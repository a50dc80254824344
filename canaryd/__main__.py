"""The command ``canaryd``, and the same as ``kubectl canaryd``."""

from __future__ import annotations


def main() -> None:
    """Run the command line. Nothing heavy is imported before the subcommand is known."""
    from canaryd.cli import app

    app()


def kubectl() -> None:
    """The plugin ``kubectl-canaryd``: the same, called as who types it calls it."""
    from canaryd.cli import app

    app(prog_name="kubectl canaryd")


def complete_for_kubectl() -> None:
    """The program ``kubectl_complete-canaryd``, which kubectl asks on the tab key."""
    from canaryd.cli.completing import for_kubectl

    for_kubectl()


if __name__ == "__main__":
    main()
