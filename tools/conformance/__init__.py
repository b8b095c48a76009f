"""The tables of docs/conformance.md, made from the code: `python -m tools.conformance` writes them, `--check` says what differs."""
