"""What the pages say, in English and in French; a sentence that one language lacks does not type-check."""

from dataclasses import dataclass
from typing import Final

from leadglass.wire.pages.words import administration
from leadglass.wire.pages.words.administration import AdministrationWords


@dataclass(frozen=True)
class Words:
    """Every text of the pages in one language."""

    code: str
    """BCP 47."""
    name: str
    skip: str
    sign_in: str
    sign_out: str
    user: str
    password: str
    factor: str
    factor_help: str
    not_identified: str
    too_often: str
    signed_in_as: str
    language: str
    worklist: str
    search: str
    search_help: str
    clear: str
    patient: str
    patient_id: str
    birth_date: str
    accession: str
    since: str
    until: str
    modality: str
    date: str
    description: str
    series: str
    objects: str
    number: str
    none_found: str
    nothing_to_see: str
    older: str
    newer: str
    shown: str
    study: str
    referring: str
    accesses: str
    accesses_help: str
    accesses_partly: str
    accesses_none: str
    time: str
    who: str
    door: str
    address: str
    action: str
    kind: str
    outcome: str
    count: str
    trail: str
    trail_help: str
    verify_trail: str
    verify_help: str
    trail_whole: str
    trail_broken: str
    alerts_only: str
    gave_access: str
    study_uid: str
    back: str
    not_found: str
    not_found_help: str
    wrong: str
    stale: str
    too_much: str
    later: str
    broken: str
    bad_search: str
    administration: AdministrationWords


ENGLISH: Final = Words(
    code="en",
    name="English",
    skip="Skip to the content",
    sign_in="Sign in",
    sign_out="Sign out",
    user="User name",
    password="Password",  # noqa: S106
    factor="Code",
    factor_help="Six digits from your authenticator, or a recovery code.",
    not_identified="That did not let you in. Check all three, and wait for a new code.",
    too_often="Too many tries. Wait {seconds} seconds.",
    signed_in_as="Signed in as {name}",
    language="Language",
    worklist="Worklist",
    search="Search",
    search_help="The beginning is enough; * stands for anything.",
    clear="Show all",
    patient="Patient",
    patient_id="Patient ID",
    birth_date="Born",
    accession="Accession number",
    since="From",
    until="To",
    modality="Modality",
    date="Date",
    description="Description",
    series="Series",
    objects="Objects",
    number="Number",
    none_found="No study that you may see matches.",
    nothing_to_see="Your rights do not include studies.",
    older="Older",
    newer="Newer",
    shown="{first} to {last}",
    study="Study",
    referring="Referring physician",
    accesses="Who has looked at it",
    accesses_help="From the record of accesses, newest first.",
    accesses_partly="Only the newest {number} entries of the record were searched; an auditor can search all of it.",
    accesses_none="Nobody but you, now.",
    time="Time",
    who="Who",
    door="Door",
    address="Address",
    action="Action",
    kind="Entry",
    outcome="Outcome",
    count="Count",
    trail="Record of accesses",
    trail_help="The newest {number} entries that match.",
    verify_trail="Verify the record",
    verify_help="An archive put back whole to an earlier day says so too: leadglass trail verify, with a checkpoint, sees it.",
    trail_whole="The record is whole: {size} entries, each as it was written, under this archive's signature.",
    trail_broken="The record is damaged or was changed. Copy it before anything else is done. Of {size} entries read:",
    alerts_only="Only what gave somebody access to patients",
    gave_access="gave access to patients: {to} ({verb})",
    study_uid="Study Instance UID",
    back="Back to the worklist",
    not_found="Nothing here",
    not_found_help="There is nothing here that you may see.",
    wrong="That was not understood",
    stale="This page was too old, or came from elsewhere. Open it again and repeat what you did.",
    too_much="Too much at once",
    later="It cannot be done now. Try again in a minute.",
    broken="Something is broken here. The administrator finds it in the log.",
    bad_search="This cannot be searched for. Check the fields.",
    administration=administration.ENGLISH,
)

FRENCH: Final = Words(
    code="fr",
    name="Français",
    skip="Aller au contenu",
    sign_in="Se connecter",
    sign_out="Se déconnecter",
    user="Nom d'utilisateur",
    password="Mot de passe",  # noqa: S106
    factor="Code",
    factor_help="Six chiffres de votre application d'authentification, ou un code de secours.",
    not_identified="Connexion refusée. Vérifiez les trois champs et attendez un nouveau code.",
    too_often="Trop d'essais. Attendez {seconds} secondes.",
    signed_in_as="Connecté : {name}",
    language="Langue",
    worklist="Liste de travail",
    search="Rechercher",
    search_help="Le début suffit ; * remplace n'importe quoi.",
    clear="Tout afficher",
    patient="Patient",
    patient_id="Identifiant du patient",
    birth_date="Naissance",
    accession="Numéro de demande",
    since="Du",
    until="Au",
    modality="Modalité",
    date="Date",
    description="Description",
    series="Séries",
    objects="Objets",
    number="Numéro",
    none_found="Aucun examen visible pour vous ne correspond.",
    nothing_to_see="Vos droits ne comprennent pas les examens.",
    older="Plus anciens",
    newer="Plus récents",
    shown="{first} à {last}",
    study="Examen",
    referring="Médecin demandeur",
    accesses="Qui l'a consulté",
    accesses_help="D'après le registre des accès, du plus récent au plus ancien.",
    accesses_partly="Seules les {number} dernières entrées du registre ont été lues ; un auditeur peut tout rechercher.",
    accesses_none="Personne d'autre que vous, à l'instant.",
    time="Heure",
    who="Qui",
    door="Porte",
    address="Adresse",
    action="Action",
    kind="Entrée",
    outcome="Résultat",
    count="Nombre",
    trail="Registre des accès",
    trail_help="Les {number} entrées correspondantes les plus récentes.",
    verify_trail="Vérifier le registre",
    verify_help="Une archive entière remise à un jour antérieur dit de même : leadglass trail verify, avec un point de contrôle, le voit.",
    trail_whole="Le registre est complet : {size} entrées, chacune telle qu'elle a été écrite, sous la signature de l'archive.",
    trail_broken="Le registre est endommagé ou a été modifié. Copiez-le avant toute chose. Sur {size} entrées lues :",
    alerts_only="Seulement ce qui a donné accès à des patients",
    gave_access="a donné accès à des patients : {to} ({verb})",
    study_uid="Study Instance UID",
    back="Retour à la liste de travail",
    not_found="Rien ici",
    not_found_help="Il n'y a rien ici que vous puissiez voir.",
    wrong="Demande non comprise",
    stale="Cette page était trop ancienne, ou venait d'ailleurs. Rouvrez-la et recommencez.",
    too_much="Trop à la fois",
    later="Impossible pour l'instant. Réessayez dans une minute.",
    broken="Une panne est survenue. L'administrateur la trouvera dans le journal.",
    bad_search="Recherche impossible. Vérifiez les champs.",
    administration=administration.FRENCH,
)

LANGUAGES: Final = {words.code: words for words in (ENGLISH, FRENCH)}


def chosen(cookie: str | None, accept: str) -> Words:
    """The language of the switch, else the first that the browser would like best and that there is (RFC 9110 12.5.4).

    >>> chosen(None, "de;q=0.9, fr-CA, en;q=0.8").code, chosen("en", "fr").code, chosen("xx", "").code, chosen(None, "fr;q=0, de").code
    ('fr', 'en', 'en', 'en')
    """
    if cookie in LANGUAGES:
        return LANGUAGES[cookie]
    best, weight = ENGLISH, 0.0
    for part in accept.split(",")[:32]:
        tag, _, parameter = part.partition(";")
        words = LANGUAGES.get(tag.strip().lower().partition("-")[0])
        quality = _quality(parameter.strip())
        if words is not None and quality > weight:
            best, weight = words, quality
    return best


def _quality(parameter: str) -> float:
    if not parameter:
        return 1.0
    name, _, value = parameter.partition("=")
    digits = value.strip()[:5]
    return float(digits) if name.strip() == "q" and digits.replace(".", "", 1).isdecimal() and digits.isascii() else 0.0
