"""Templates of HTML: every text is escaped, and a name that a page was not given is an error, not an empty place."""

import jinja2


def environment(package: str) -> jinja2.Environment:
    """The templates in the folder `templates` of a package of ours."""
    return jinja2.Environment(
        loader=jinja2.PackageLoader(package, "templates"),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
