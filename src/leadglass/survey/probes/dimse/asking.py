"""What a stranger proposes in an association, and what the archive's answer says."""

from collections.abc import Iterable, Mapping, Sequence
from types import MappingProxyType

from leadglass.dicom.contexts import EXPLICIT_LITTLE_ENDIAN, IMPLICIT_LITTLE_ENDIAN, Context, propose
from leadglass.dicom.pdu import AssociateAccept, AssociateRequest, ContextOutcome
from leadglass.dicom.uid import Uid
from leadglass.dicom.user_information import RoleSelection
from leadglass.survey.negotiated import AskedClass, AskedContext, ContextAnswer
from leadglass.survey.observations import Service

ANY_CALLED_AET = "ANY-SCP"
"""What a stranger calls an archive whose title he does not know."""

_UNCOMPRESSED = (IMPLICIT_LITTLE_ENDIAN, EXPLICIT_LITTLE_ENDIAN)

SOP_CLASSES: dict[Service, tuple[str, ...]] = {
    Service.VERIFICATION: ("1.2.840.10008.1.1",),
    Service.STUDY_ROOT_FIND: ("1.2.840.10008.5.1.4.1.2.2.1",),
    Service.PATIENT_ROOT_FIND: ("1.2.840.10008.5.1.4.1.2.1.1",),
    Service.STUDY_ROOT_GET: ("1.2.840.10008.5.1.4.1.2.2.3",),
    Service.STUDY_ROOT_MOVE: ("1.2.840.10008.5.1.4.1.2.2.2",),
    Service.WORKLIST_FIND: ("1.2.840.10008.5.1.4.31",),
    # CT, MR, Secondary Capture: an archive that takes anything takes one of these. Negotiated; sent only by `write_probe`.
    Service.STORAGE: ("1.2.840.10008.5.1.4.1.1.2", "1.2.840.10008.5.1.4.1.1.4", "1.2.840.10008.5.1.4.1.1.7"),
}

_CLASSES: Mapping[AskedClass, str] = MappingProxyType(
    dict(zip(AskedClass, (each for classes in SOP_CLASSES.values() for each in classes), strict=True))
)
"""`AskedClass` has the order in which they are proposed."""

_COMMON_STORAGE = (
    *SOP_CLASSES[Service.STORAGE],
    "1.2.840.10008.5.1.4.1.1.1",  # CR
    "1.2.840.10008.5.1.4.1.1.1.1",  # DX
    "1.2.840.10008.5.1.4.1.1.1.2",  # mammography
    "1.2.840.10008.5.1.4.1.1.6.1",  # ultrasound
    "1.2.840.10008.5.1.4.1.1.3.1",  # ultrasound, multi-frame
    "1.2.840.10008.5.1.4.1.1.12.1",  # XA
    "1.2.840.10008.5.1.4.1.1.20",  # nuclear medicine
    "1.2.840.10008.5.1.4.1.1.128",  # PET
    "1.2.840.10008.5.1.4.1.1.2.1",  # enhanced CT
    "1.2.840.10008.5.1.4.1.1.4.1",  # enhanced MR
)

_TRANSFER_SYNTAXES = (
    EXPLICIT_LITTLE_ENDIAN,
    IMPLICIT_LITTLE_ENDIAN,
    "1.2.840.10008.1.2.4.50",  # JPEG baseline
    "1.2.840.10008.1.2.4.51",  # JPEG extended
    "1.2.840.10008.1.2.4.57",  # JPEG lossless
    "1.2.840.10008.1.2.4.70",  # JPEG lossless, first-order
    "1.2.840.10008.1.2.4.80",  # JPEG-LS lossless
    "1.2.840.10008.1.2.4.81",  # JPEG-LS
    "1.2.840.10008.1.2.4.90",  # JPEG 2000 lossless
    "1.2.840.10008.1.2.4.91",  # JPEG 2000
    "1.2.840.10008.1.2.5",  # RLE
    "1.2.840.10008.1.2.1.99",  # deflated
    "1.2.840.10008.1.2.2",  # explicit big endian
    "1.2.840.10008.1.2.4.100",  # MPEG-2
    "1.2.840.10008.1.2.4.102",  # MPEG-4
    "1.2.840.10008.1.2.4.201",  # HTJ2K lossless
)


_ANSWERS: Mapping[int, ContextAnswer] = {
    ContextOutcome.ACCEPTANCE: ContextAnswer.ACCEPTED,
    ContextOutcome.USER_REJECTION: ContextAnswer.USER_REJECTION,
    ContextOutcome.NO_REASON: ContextAnswer.NO_REASON,
    ContextOutcome.ABSTRACT_SYNTAX_NOT_SUPPORTED: ContextAnswer.CLASS_NOT_SUPPORTED,
    ContextOutcome.TRANSFER_SYNTAXES_NOT_SUPPORTED: ContextAnswer.SYNTAXES_NOT_SUPPORTED,
}


def first_request(calling: str, called: str) -> AssociateRequest:
    """Every service that the ladder asks about, in one association; queries in implicit little endian alone, which all must take."""
    contexts: list[tuple[str, Sequence[str]]] = []
    for service, classes in SOP_CLASSES.items():
        syntaxes = _UNCOMPRESSED if service is Service.STORAGE else (IMPLICIT_LITTLE_ENDIAN,)
        contexts.extend((sop_class, syntaxes) for sop_class in classes)
    return propose(calling, called, contexts)


def image_request(calling: str, called: str, sop_class: str) -> AssociateRequest:
    """C-GET, and storage with us as the one who receives (PS3.7 D.3.3.4).

    An archive chooses one transfer syntax for each context, so a known `sop_class` is proposed once for each.
    """
    get = (SOP_CLASSES[Service.STUDY_ROOT_GET][0], (IMPLICIT_LITTLE_ENDIAN,))
    if sop_class:
        storage: list[tuple[str, Sequence[str]]] = [(sop_class, (syntax,)) for syntax in _TRANSFER_SYNTAXES]
    else:
        storage = [(each, (syntax,)) for each in _COMMON_STORAGE for syntax in _TRANSFER_SYNTAXES[:6]]
    classes = [sop_class] if sop_class else list(_COMMON_STORAGE)
    roles = [RoleSelection(Uid(each), scu=False, scp=True) for each in classes]
    return propose(calling, called, [get, *storage], roles=roles)


def accepted_services(contexts: Iterable[Context]) -> tuple[Service, ...]:
    """The services of which at least one class was accepted, in the order of `Service`."""
    held = {str(context.abstract_syntax) for context in contexts}
    return tuple(service for service in Service if held & set(SOP_CLASSES[service]))


def asked_contexts(accept: AssociateAccept) -> tuple[AskedContext, ...]:
    """Every context of `first_request` with its answer (PS3.8 table 9-18)."""
    answers = {each.id: each.result for each in accept.contexts}
    proposed = zip(range(1, 256, 2), AskedClass, strict=False)
    return tuple(AskedContext(asked, _context_answer(answers.get(number))) for number, asked in proposed)


def _context_answer(result: int | None) -> ContextAnswer:
    if result is None:
        return ContextAnswer.NOT_ANSWERED
    return _ANSWERS.get(result, ContextAnswer.OTHER)


def storage_context(contexts: Iterable[Context]) -> Context | None:
    """The accepted storage context in which one object can be offered: secondary capture before an image of a modality."""
    held = {str(context.abstract_syntax): context for context in contexts}
    classes = (_CLASSES[each] for each in (AskedClass.SECONDARY_CAPTURE_STORAGE, AskedClass.CT_STORAGE, AskedClass.MR_STORAGE))
    return next((held[each] for each in classes if each in held), None)


def context_of(contexts: Iterable[Context], service: Service) -> Context | None:
    """The accepted context of `service`, if there is one."""
    return next((context for context in contexts if context.abstract_syntax in SOP_CLASSES[service]), None)
