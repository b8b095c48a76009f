"""PS3.8 Table 9-10 (the DICOM upper layer's state transition table), and the actions of Tables 9-6 to 9-9, as data."""

from dataclasses import dataclass

ASSOCIATED = ("Sta6", "Sta7", "Sta8", "Sta9", "Sta10", "Sta11", "Sta12")

EVENTS = {
    "Evt1": "A-ASSOCIATE request primitive",
    "Evt2": "transport connection confirmed",
    "Evt3": "A-ASSOCIATE-AC PDU",
    "Evt4": "A-ASSOCIATE-RJ PDU",
    "Evt5": "transport connection indication",
    "Evt6": "A-ASSOCIATE-RQ PDU",
    "Evt7": "A-ASSOCIATE response primitive (accept)",
    "Evt8": "A-ASSOCIATE response primitive (reject)",
    "Evt9": "P-DATA request primitive",
    "Evt10": "P-DATA-TF PDU",
    "Evt11": "A-RELEASE request primitive",
    "Evt12": "A-RELEASE-RQ PDU",
    "Evt13": "A-RELEASE-RP PDU",
    "Evt14": "A-RELEASE response primitive",
    "Evt15": "A-ABORT request primitive",
    "Evt16": "A-ABORT PDU",
    "Evt17": "transport connection closed",
    "Evt18": "ARTIM timer expired",
    "Evt19": "unrecognized or invalid PDU",
}


def _row(event: str, **actions: str) -> dict[tuple[str, str], str]:
    """The row of an event; `associated` stands for every state from Sta6 to Sta12 that is not named."""
    rest = actions.pop("associated", None)
    row = {(event, state): action for state, action in actions.items()}
    if rest:
        row = {(event, state): rest for state in ASSOCIATED} | row
    return row


TABLE: dict[tuple[str, str], str] = {
    **_row("Evt1", Sta1="AE-1"),
    **_row("Evt2", Sta4="AE-2"),
    **_row("Evt3", Sta2="AA-1", Sta3="AA-8", Sta5="AE-3", associated="AA-8", Sta13="AA-6"),
    **_row("Evt4", Sta2="AA-1", Sta3="AA-8", Sta5="AE-4", associated="AA-8", Sta13="AA-6"),
    **_row("Evt5", Sta1="AE-5"),
    **_row("Evt6", Sta2="AE-6", Sta3="AA-8", Sta5="AA-8", associated="AA-8", Sta13="AA-7"),
    **_row("Evt7", Sta3="AE-7"),
    **_row("Evt8", Sta3="AE-8"),
    **_row("Evt9", Sta6="DT-1", Sta8="AR-7"),
    **_row("Evt10", Sta2="AA-1", Sta3="AA-8", Sta5="AA-8", Sta6="DT-2", Sta7="AR-6", associated="AA-8", Sta13="AA-6"),
    **_row("Evt11", Sta6="AR-1"),
    **_row("Evt12", Sta2="AA-1", Sta3="AA-8", Sta5="AA-8", Sta6="AR-2", Sta7="AR-8", associated="AA-8", Sta13="AA-6"),
    **_row("Evt13", Sta2="AA-1", Sta3="AA-8", Sta5="AA-8", Sta7="AR-3", Sta10="AR-10", Sta11="AR-3", associated="AA-8", Sta13="AA-6"),
    **_row("Evt14", Sta8="AR-4", Sta9="AR-9", Sta12="AR-4"),
    **_row("Evt15", Sta3="AA-1", Sta4="AA-2", Sta5="AA-1", associated="AA-1"),
    **_row("Evt16", Sta2="AA-2", Sta3="AA-3", Sta5="AA-3", associated="AA-3", Sta13="AA-2"),
    **_row("Evt17", Sta2="AA-5", Sta3="AA-4", Sta4="AA-4", Sta5="AA-4", associated="AA-4", Sta13="AR-5"),
    **_row("Evt18", Sta2="AA-2", Sta13="AA-2"),
    **_row("Evt19", Sta2="AA-1", Sta3="AA-8", Sta5="AA-8", associated="AA-8", Sta13="AA-7"),
}


@dataclass(frozen=True)
class Effect:
    """What an action sends (a PDU's type), what it tells the user, and the state after it."""

    then: str
    sends: int | None = None
    tells: str | None = None


RQ, AC, RJ, DATA, RELEASE_RQ, RELEASE_RP, ABORT = range(1, 8)
BY_ROLE = "Sta9 for the association's requestor, Sta10 for its acceptor"
EFFECTS = {
    "AE-1": Effect("Sta4"),
    "AE-2": Effect("Sta5", sends=RQ),
    "AE-3": Effect("Sta6", tells="A-ASSOCIATE confirmation (accept)"),
    "AE-4": Effect("Sta1", tells="A-ASSOCIATE confirmation (reject)"),
    "AE-5": Effect("Sta2"),
    "AE-6": Effect("Sta3", tells="A-ASSOCIATE indication"),
    "AE-7": Effect("Sta6", sends=AC),
    "AE-8": Effect("Sta13", sends=RJ),
    "DT-1": Effect("Sta6", sends=DATA),
    "DT-2": Effect("Sta6", tells="P-DATA indication"),
    "AR-1": Effect("Sta7", sends=RELEASE_RQ),
    "AR-2": Effect("Sta8", tells="A-RELEASE indication"),
    "AR-3": Effect("Sta1", tells="A-RELEASE confirmation"),
    "AR-4": Effect("Sta13", sends=RELEASE_RP),
    "AR-5": Effect("Sta1"),
    "AR-6": Effect("Sta7", tells="P-DATA indication"),
    "AR-7": Effect("Sta8", sends=DATA),
    "AR-8": Effect(BY_ROLE, tells="A-RELEASE indication"),
    "AR-9": Effect("Sta11", sends=RELEASE_RP),
    "AR-10": Effect("Sta12", tells="A-RELEASE confirmation"),
    "AA-1": Effect("Sta13", sends=ABORT),
    "AA-2": Effect("Sta1"),
    "AA-3": Effect("Sta1", tells="A-ABORT indication"),
    "AA-4": Effect("Sta1", tells="A-P-ABORT indication"),
    "AA-5": Effect("Sta1"),
    "AA-6": Effect("Sta13"),
    "AA-7": Effect("Sta13", sends=ABORT),
    "AA-8": Effect("Sta13", sends=ABORT, tells="A-P-ABORT indication"),
}
