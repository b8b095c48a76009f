"""The probe of one DIMSE port: plain first, except on the usual TLS ports; TLS where DICOM has failed; never HTTP."""

from collections.abc import Sequence
from dataclasses import replace

from leadglass.dicom.status import StatusKind, kind_of
from leadglass.dicom.uid import Uid
from leadglass.errors import InvalidUid
from leadglass.survey import products
from leadglass.survey.addresses import System
from leadglass.survey.briefing import Briefing, Counted
from leadglass.survey.dialer import NoConnection
from leadglass.survey.observations import (
    ClientCertificate,
    CountedBy,
    Dimse,
    Ending,
    ExposureLevel,
    Protocol,
    QueryAnswer,
    RejectionMeaning,
    Service,
    Tls,
    Transport,
    WebProduct,
    Write,
)
from leadglass.survey.probes.dimse import questions
from leadglass.survey.probes.dimse.asking import (
    accepted_services,
    asked_contexts,
    context_of,
    first_request,
    image_request,
    storage_context,
)
from leadglass.survey.probes.dimse.conversation import Conversation, NoAssociation
from leadglass.survey.probes.dimse.session import Line, Session, query_context
from leadglass.survey.scope import ExposureLimit, Limits
from leadglass.survey.synthetic import synthetic_object
from leadglass.survey.transport import USUAL_TLS_PORTS, examine

_MAY_BE_TLS = frozenset({Ending.NOT_THIS_PROTOCOL, Ending.CLOSED_BY_PEER, Ending.TIMEOUT})


class DimseProbe:
    """Association, query for nobody, counts, one image begun: as far as the scope goes."""

    name = "dimse"
    title = "DICOM (DIMSE)"

    def ports(self, system: System) -> Sequence[int]:
        return system.target.dimse_ports

    def plan(self, system: System, limits: Limits) -> Sequence[str]:
        steps = ["an A-ASSOCIATE-RQ, then A-RELEASE", "a TLS greeting where DICOM fails or TLS is usual"]
        if system.level.reaches(ExposureLimit.QUERY):
            steps.append("C-ECHO, one C-FIND for a random UID that matches nobody")
        if system.level.reaches(ExposureLimit.COUNT):
            steps.append("a C-FIND over all studies (counted, not kept) unless a web door has counted; one for the fields of one study")
        if system.level.reaches(ExposureLimit.RETRIEVE):
            steps.append("C-FINDs for one image, its C-GET, aborted at the first byte")
        if limits.write_probe and system.may_be_touched:
            steps.append("C-STORE of one marked synthetic object where storage is accepted; it stays there (at most one in a system)")
        return steps

    async def run(self, system: System, port: int, briefing: Briefing) -> Dimse:
        line = Line(system, port, briefing, None)
        if port in USUAL_TLS_PORTS:
            tls = await self._examine(line)
            return await self._over_tls(replace(line, tls=tls)) if tls else await self._climb(line)
        plain = await self._climb(line)
        if plain.level.rank > ExposureLevel.OPEN_PORT.rank or plain.ending not in _MAY_BE_TLS or plain.level is ExposureLevel.CLOSED:
            return plain
        tls = await self._examine(line)
        return await self._over_tls(replace(line, tls=tls)) if tls else plain

    async def _examine(self, line: Line) -> Tls | None:
        briefing = line.briefing
        return await examine(line.system, line.port, briefing.dialer, timeout=briefing.timeout, ca_file=briefing.ca_file)

    async def _over_tls(self, line: Line) -> Dimse:
        if line.tls and line.tls.client_certificate is ClientCertificate.REQUIRED:
            found = _nothing(line, ExposureLevel.OPEN_PORT, Ending.TLS_FAILED)
            return replace(found, transport=Transport.MUTUAL_TLS, write=Write.REFUSED)
        return await self._climb(line)

    async def _climb(self, line: Line) -> Dimse:
        found = await self._associate_and_ask(line)
        aet = line.system.target.called_aet
        unknown = found.rejection is not None and found.rejection.meaning is RejectionMeaning.CALLED_AE
        if unknown and aet and aet != line.called:
            named = await self._associate_and_ask(replace(line, called=aet))
            return replace(named, named_called_ae=True) if named.level.rank > found.level.rank else found
        return found

    async def _associate_and_ask(self, line: Line) -> Dimse:
        async with Session(line) as session:
            answer = await session.open(first_request(line.briefing.calling_aet, line.called))
            if isinstance(answer, NoConnection):
                return _nothing(line, ExposureLevel.CLOSED, answer.ending)
            if isinstance(answer, NoAssociation):
                return _not_associated(line, answer)
            found = await _ask(session, answer, _associated(line, answer))
            if found.level is ExposureLevel.RECORDS and line.system.level.reaches(ExposureLimit.COUNT):
                found = await _count(session, found)
            if line.briefing.write_probe and line.system.may_be_touched and found.write is Write.OFFERED:
                found = await _offer_object(session, found)
            return found


def _nothing(line: Line, level: ExposureLevel, ending: Ending) -> Dimse:
    return Dimse(
        port=line.port,
        protocol=Protocol.DIMSE_TLS if line.tls else Protocol.DIMSE,
        level=level,
        write=Write.NOT_TRIED,
        transport=None,
        ending=ending,
        tls=line.tls,
    )


def _not_associated(line: Line, answer: NoAssociation) -> Dimse:
    found = _nothing(line, ExposureLevel.DICOM if answer.spoke_dicom else ExposureLevel.OPEN_PORT, answer.ending)
    found = replace(found, rejection=answer.rejection)
    if answer.spoke_dicom:
        return replace(found, write=Write.REFUSED, transport=Transport.TLS if line.tls else Transport.PLAIN)
    if line.tls:
        # A TLS 1.3 server may show only now that it wanted a certificate of ours; one that agreed on nothing with us shows nothing by it.
        wanted = answer.ending is Ending.TLS_FAILED and line.tls.version is not None
        return replace(
            found, write=Write.REFUSED if wanted else Write.NOT_TRIED, transport=Transport.MUTUAL_TLS if wanted else Transport.TLS
        )
    return found


def _associated(line: Line, conversation: Conversation) -> Dimse:
    accepted = accepted_services(conversation.contexts)
    offered = query_context(conversation) is not None
    found = replace(
        _nothing(line, ExposureLevel.QUERY_OFFERED if offered else ExposureLevel.ASSOCIATION, Ending.DONE),
        transport=Transport.TLS if line.tls else Transport.PLAIN,
        write=Write.OFFERED if Service.STORAGE in accepted else Write.REFUSED,
        accepted=accepted,
        contexts=asked_contexts(conversation.accept),
        refused=tuple(service for service in Service if service not in accepted),
    )
    return _with_fingerprint(found, conversation)


async def _ask(session: Session, conversation: Conversation, found: Dimse) -> Dimse:
    """What an association is good for: C-ECHO, and a query for nobody."""
    if not session.line.system.level.reaches(ExposureLimit.QUERY):
        return found
    if Service.VERIFICATION in found.accepted:
        found = replace(found, echo=await conversation.echo())
    standing = await session.standing() if found.level is ExposureLevel.QUERY_OFFERED else None
    if standing is None:
        return found
    search = await questions.ask_for_nobody(*standing, patient_root=Service.STUDY_ROOT_FIND not in found.accepted)
    level = ExposureLevel.RECORDS if search.answer is QueryAnswer.ANSWERED else found.level
    return replace(found, level=level, query=search.answer, query_status=search.status)


async def _count(session: Session, found: Dimse) -> Dimse:
    """How many, which fields, and whether an image would be handed out."""
    briefing = session.line.briefing
    first_study = ""
    if _is_counted(briefing.counted, found):
        found = replace(found, counted_by=CountedBy.COUNT_ENDPOINT)
    else:
        counting = questions.Counting(session, key=briefing.key, max_matches=briefing.max_matches, seconds=briefing.counting_seconds)
        records = await counting.count()
        found = replace(found, records=records, counted_by=CountedBy.QUERY if records else None)
        first_study = counting.first_study
        if not first_study:
            return found
    fields, first_study = await questions.fields_of(session, first_study)
    found = replace(found, fields=fields)
    if not first_study or not session.line.system.level.reaches(ExposureLimit.RETRIEVE) or Service.STUDY_ROOT_GET not in found.accepted:
        return found
    image = await questions.any_image(session, first_study)
    return found if image is None else await _begin_image(session, found, image)


_TOOLKITS = {WebProduct.ORTHANC: "DCMTK", WebProduct.DCM4CHEE: "dcm4che"}


def _is_counted(counted: Counted | None, found: Dimse) -> bool:
    """Whether the count that a web door of this address gave is this archive's too: its toolkit is that of the product."""
    if counted is None or found.fingerprint is None:
        return False
    return products.fingerprints()[found.fingerprint].toolkit == _TOOLKITS.get(counted.product)


async def _offer_object(session: Session, found: Dimse) -> Dimse:
    """C-STORE of the one synthetic object; only where `write_probe` asks for it."""
    line = session.line
    conversation = await session.conversation()
    context = storage_context(conversation.contexts) if conversation is not None else None
    if conversation is None or context is None:
        return found
    offered = synthetic_object(context, line.briefing.run_id)
    status = await conversation.store(context, offered.uid, offered.data)
    found = replace(found, store_status=status)
    if status is None:
        return replace(found, synthetic_object=offered.number)
    if kind_of(status) in {StatusKind.SUCCESS, StatusKind.WARNING}:
        return replace(found, write=Write.ACCEPTED, synthetic_object=offered.number)
    return replace(found, write=Write.REFUSED)


async def _begin_image(session: Session, found: Dimse, image: questions.ImagePointer) -> Dimse:
    line = session.line
    try:
        request = image_request(line.briefing.calling_aet, line.called, image.sop_class)
        wanted = questions.image_identifier(image)
    except (InvalidUid, UnicodeEncodeError):
        return replace(found, retrieve=QueryAnswer.NONSENSE)
    answer = await session.open(request)
    if not isinstance(answer, Conversation):
        return replace(found, retrieve=QueryAnswer.ABORTED)
    context = context_of(answer.contexts, Service.STUDY_ROOT_GET)
    if context is None:
        return replace(found, retrieve=QueryAnswer.FAILED)
    outcome = await answer.begin_image(context, wanted)
    return replace(found, level=ExposureLevel.IMAGES if outcome is QueryAnswer.ANSWERED else found.level, retrieve=outcome)


def _with_fingerprint(found: Dimse, conversation: Conversation) -> Dimse:
    user = conversation.accept.user
    match = products.recognise(_text(user.implementation_class_uid), _text(user.implementation_version_name))
    return found if match is None else replace(found, fingerprint=match.row, toolkit_version=match.version)


def _text(value: Uid | str | None) -> str:
    return str(value or "")
