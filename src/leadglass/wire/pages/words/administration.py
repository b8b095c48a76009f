"""What the pages of administration say."""

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Final

from leadglass.wire.pages.words import peers
from leadglass.wire.pages.words.peers import PeersWords


@dataclass(frozen=True)
class AdministrationWords:
    """Every text of administration in one language."""

    people: str
    people_help: str
    name: str
    roles: str
    roles_named: Mapping[str, str]
    factor: str
    has: str
    has_not: str
    attributes: str
    attributes_help: str
    attribute: str
    attributes_named: Mapping[str, str]
    values: str
    values_help: str
    last_seen: str
    never: str
    state: str
    states: Mapping[str, str]
    held_by: str
    add_person: str
    alerts: str
    made: str
    made_help: str
    made_password: str
    made_uri: str
    made_codes: str
    back: str
    changes: str
    does: Mapping[str, str]
    """Changes by the word that the form sends."""
    means: Mapping[str, str]
    sure: str
    sure_title: str
    never_mind: str
    refused: str
    not_your_own: str
    choose_role: str
    peers: PeersWords


ENGLISH: Final = AdministrationWords(
    people="People",
    people_help="Who has an account here. Administrators see no patient.",
    name="Name",
    roles="Roles",
    roles_named=MappingProxyType(
        {"clinician": "Clinician", "technologist": "Technologist", "administrator": "Administrator", "auditor": "Auditor"}
    ),
    factor="Second factor",
    has="yes",
    has_not="none: cannot sign in",
    attributes="Attributes",
    attributes_help="What rules may hold against a study. How many values there are is shown, never the values: they may name patients.",
    attribute="Attribute",
    attributes_named=MappingProxyType(
        {
            "department": "Department",
            "institution": "Institution",
            "modality": "Modality",
            "patient": "Patient IDs",
            "physician": "Referring physician",
        }
    ),
    values="Values",
    values_help="One a line, in place of all that there are; empty takes the attribute away.",
    last_seen="Last seen",
    never="never",
    state="State",
    states=MappingProxyType({"active": "active", "disabled": "disabled for good", "held": "held"}),
    held_by="since {since}, by {by}",
    add_person="Add a person",
    alerts=(
        "Whatever lets somebody see patients is marked in the record of accesses, and the auditor is alerted. "
        "Your own name is no exception."
    ),
    made="Given once",
    made_help="This is shown now and never again. Hand it over to {name} alone.",
    made_password="Password",  # noqa: S106
    made_uri="For the authenticator (make a QR code of it)",
    made_codes="Recovery codes, each good for one sign-in",
    back="Back to all people",
    changes="Change",
    does=MappingProxyType(
        {
            "roles": "Give these roles",
            "attribute": "Set the attribute",
            "password": "Make a new password",
            "factor": "Make a new second factor",
            "sign-out": "End all sessions",
            "hold": "Hold",
            "release": "Release",
            "disable": "Disable for good",
        }
    ),
    means=MappingProxyType(
        {
            "roles": "The person has these roles from the next request on, and no others.",
            "attribute": "Rules of the policy that use it decide by the new values from the next request on.",
            "password": "All sessions end. The password before is not good any more.",
            "factor": "All sessions end. The authenticator and the recovery codes before are not good any more.",
            "sign-out": "All sessions end. The person can sign in again.",
            "hold": "All sessions and tokens are out within a second, until the person is released.",
            "release": "The person can sign in again, and the tokens are good again.",
            "disable": "All sessions and tokens end for good. The name is never used again. To shut somebody out for a while, hold.",
        }
    ),
    sure="Yes, do it",
    sure_title="Are you sure?",
    never_mind="No, go back",
    refused="That was not done:",
    not_your_own=(
        "Your own password and second factor are changed by another administrator, or with the command line: this "
        "session would end before you have read them."
    ),
    choose_role="An account needs a role.",
    peers=peers.ENGLISH,
)

FRENCH: Final = AdministrationWords(
    people="Personnes",
    people_help="Qui a un compte ici. Les administrateurs ne voient aucun patient.",
    name="Nom",
    roles="Rôles",
    roles_named=MappingProxyType(
        {"clinician": "Clinicien", "technologist": "Manipulateur", "administrator": "Administrateur", "auditor": "Auditeur"}
    ),
    factor="Second facteur",
    has="oui",
    has_not="aucun : connexion impossible",
    attributes="Attributs",
    attributes_help=(
        "Ce que les règles comparent à un examen. Seul le nombre de valeurs est affiché, jamais les valeurs : "
        "elles peuvent désigner des patients."
    ),
    attribute="Attribut",
    attributes_named=MappingProxyType(
        {
            "department": "Service",
            "institution": "Établissement",
            "modality": "Modalité",
            "patient": "Identifiants de patients",
            "physician": "Médecin demandeur",
        }
    ),
    values="Valeurs",
    values_help="Une par ligne, à la place de toutes celles qui existent ; vide supprime l'attribut.",
    last_seen="Dernière activité",
    never="jamais",
    state="État",
    states=MappingProxyType({"active": "actif", "disabled": "désactivé définitivement", "held": "suspendu"}),
    held_by="depuis {since}, par {by}",
    add_person="Ajouter une personne",
    alerts=(
        "Tout ce qui donne accès à des patients est marqué dans le registre des accès, et l'auditeur est alerté. "
        "Votre propre nom ne fait pas exception."
    ),
    made="Remis une seule fois",
    made_help="Ceci est affiché maintenant et plus jamais. À remettre à {name} seulement.",
    made_password="Mot de passe",  # noqa: S106
    made_uri="Pour l'application d'authentification (à convertir en code QR)",
    made_codes="Codes de secours, chacun valable pour une connexion",
    back="Retour à toutes les personnes",
    changes="Modifier",
    does=MappingProxyType(
        {
            "roles": "Donner ces rôles",
            "attribute": "Définir l'attribut",
            "password": "Créer un nouveau mot de passe",
            "factor": "Créer un nouveau second facteur",
            "sign-out": "Fermer toutes les sessions",
            "hold": "Suspendre",
            "release": "Rétablir",
            "disable": "Désactiver définitivement",
        }
    ),
    means=MappingProxyType(
        {
            "roles": "La personne a ces rôles dès la prochaine requête, et aucun autre.",
            "attribute": "Les règles qui l'utilisent décident d'après les nouvelles valeurs dès la prochaine requête.",
            "password": "Toutes les sessions se ferment. L'ancien mot de passe n'est plus valable.",
            "factor": "Toutes les sessions se ferment. L'application et les codes de secours précédents ne sont plus valables.",
            "sign-out": "Toutes les sessions se ferment. La personne peut se reconnecter.",
            "hold": "Sessions et jetons sont exclus en moins d'une seconde, jusqu'au rétablissement.",
            "release": "La personne peut se reconnecter, et ses jetons sont de nouveau valables.",
            "disable": (
                "Sessions et jetons prennent fin définitivement. Le nom ne sera plus jamais utilisé. Pour une exclusion "
                "temporaire, suspendez."
            ),
        }
    ),
    sure="Oui, continuer",
    sure_title="Êtes-vous sûr ?",
    never_mind="Non, revenir",
    refused="Cela n'a pas été fait :",
    not_your_own=(
        "Votre propre mot de passe et second facteur sont changés par un autre administrateur, ou en ligne de "
        "commande : cette session prendrait fin avant que vous les ayez lus."
    ),
    choose_role="Un compte a besoin d'un rôle.",
    peers=peers.FRENCH,
)
