"""The command line: verbs only. It parses, calls, prints; what a verb does is done elsewhere."""

import logging
import sys

import typer
from typer.exceptions import Abort, TyperException

from leadglass import logs
from leadglass.cli import access, archive, conflicts, policy, survey, trail
from leadglass.cli.demo import demo
from leadglass.cli.output import complain
from leadglass.errors import LeadglassError

app = typer.Typer(
    name="leadglass",
    help="A medical-image archive that is closed by default, and a survey of those that are not.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    add_completion=False,
)
archive.register(app)
access.register(app)
policy.register(app)
conflicts.register(app)
trail.register(app)
survey.register(app)
app.command()(demo)


def main() -> None:
    """Run one command; exits 0 done, 1 findings or refused, 2 wrong usage, 3 our fault; 130 after Ctrl-C, as shells have it."""
    # Warnings of libraries may quote what they were given: they are reduced before anything can be said.
    logs.to_stderr(logging.WARNING)
    try:
        code = app(standalone_mode=False)
    except TyperException as error:
        complain(error.format_message())
        code = 2
    except (Abort, KeyboardInterrupt):
        code = 130
    except LeadglassError as error:
        complain(str(error))
        code = error.exit_code
    except OSError as error:
        if isinstance(error, BrokenPipeError):
            # Whoever reads the output left; what it would have ended in is not known any more.
            code = 1
        elif error.filename is not None:
            complain(f"{error.filename}: {error.strerror}; name another place, or run as somebody who may use it")
            code = 2
        else:
            complain(f"our fault: {error.strerror} at {logs.place_of(error)}")
            code = 3
    except Exception as error:  # noqa: BLE001 - the last line of defence: a traceback would print values
        complain(f"our fault: {type(error).__name__} at {logs.place_of(error)}; please report this line, it holds nothing of a patient")
        code = 3
    sys.exit(code or 0)
