"""The probes: each asks one kind of door, knows no other probe, and is one line here."""

from collections.abc import Sequence

from leadglass.survey.briefing import Probe
from leadglass.survey.probes.dimse.probe import DimseProbe
from leadglass.survey.probes.web.probe import WebProbe

PROBES: Sequence[Probe] = (
    # First: what a product's own interface has counted need not be streamed over DIMSE.
    WebProbe(),
    DimseProbe(),
)
