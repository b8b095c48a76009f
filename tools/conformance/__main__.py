"""Write the generated blocks of docs/conformance.md anew, or with --check say whether they are what the code gives."""

import difflib
import sys

from tools.conformance.document import DOCUMENT, regenerated


def main(arguments: list[str]) -> int:
    """0 where the document is as it should be, or is now; 1 where --check finds a difference; 2 for wrong usage."""
    if arguments not in ([], ["--check"]):
        sys.stderr.write("usage: python -m tools.conformance [--check]\n")
        return 2
    written = DOCUMENT.read_text(encoding="utf-8")
    made = regenerated(written)
    if not arguments:
        DOCUMENT.write_text(made, encoding="utf-8")
        return 0
    sys.stdout.writelines(
        difflib.unified_diff(written.splitlines(keepends=True), made.splitlines(keepends=True), "written", "from the code")
    )
    if made != written:
        sys.stdout.write(f"{DOCUMENT.name} says something else than the code: `make conformance` writes its tables anew\n")
    return int(made != written)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
