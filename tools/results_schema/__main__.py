"""Write the JSON Schema of results.json into the package and docs/; with --check only say whether both are what the types have."""

import sys
from pathlib import Path

from leadglass.survey import schema

ROOT = Path(__file__).resolve().parents[2]
PLACES = (ROOT / "src/leadglass/survey/data/results.schema.json", ROOT / "docs/results.schema.json")


def main() -> int:
    """0 where both files are as they should be."""
    wanted = schema.render()
    if "--check" not in sys.argv[1:]:
        for path in PLACES:
            path.write_bytes(wanted)
    stale = [path for path in PLACES if not path.exists() or path.read_bytes() != wanted]
    for path in stale:
        sys.stderr.write(f"{path.relative_to(ROOT)} is not what the types have: run `make conformance` and read what it changed\n")
    return 1 if stale else 0


if __name__ == "__main__":
    sys.exit(main())
