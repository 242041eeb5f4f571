"""The command line of a benchmark."""

import argparse


def parser(name: str, description: str | None) -> argparse.ArgumentParser:
    """A parser for `python -m benchmarks.<name>`; its help shows `description` and the defaults."""
    return argparse.ArgumentParser(f"python -m benchmarks.{name}", description=description, formatter_class=_Format)


class _Format(argparse.RawDescriptionHelpFormatter, argparse.ArgumentDefaultsHelpFormatter):
    """Keeps the line breaks of descriptions, and adds the default to the help of each option that has one."""

    def _get_help_string(self, action: argparse.Action) -> str | None:
        has_default = action.default is not None and action.default is not False
        return super()._get_help_string(action) if has_default else action.help
