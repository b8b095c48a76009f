"""What the pages of peers say."""

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Final


@dataclass(frozen=True)
class PeersWords:
    """Every text of peers in one language."""

    title: str
    help: str
    ae_title: str
    addresses: str
    addresses_help: str
    may: str
    may_named: Mapping[str, str]
    destination: str
    host: str
    port: str
    destination_help: str
    ends: str
    proof: str
    proofs: Mapping[str, str]
    pem: str
    pem_help: str
    states: Mapping[str, str]
    add: str
    others: str
    alerts: str
    recipe: str
    recipe_help: str
    called: str
    calling: str
    tls: str
    tls_yes: str
    tls_no: str
    authority: str
    authority_file: str
    known_by: str
    no_door: str
    none: str
    back: str
    changes: str
    does: Mapping[str, str]
    means: Mapping[str, str]
    echo_help: str
    reached: Mapping[str, str]
    """How far a C-ECHO came."""
    certificate: str
    key: str


ENGLISH: Final = PeersWords(
    title="Peers",
    help="The modalities, workstations and archives that may call, and what each may.",
    ae_title="AE title",
    addresses="Calls from",
    addresses_help="Addresses or networks with a space between them, as 10.20.0.5/32.",
    may="May",
    may_named=MappingProxyType({"store": "store", "find": "find", "get": "get", "move": "move"}),
    destination="Is sent to at",
    host="Host",
    port="Port",
    destination_help="Both, where images are to be sent to it or C-ECHO is to try it; else neither.",
    ends="Certificate ends",
    proof="Certificate",
    proofs=MappingProxyType({"issue": "Make a key and a certificate", "csr": "Sign its request", "certificate": "It has a certificate"}),
    pem="Request or certificate (PEM)",
    pem_help="Not needed where we make the key.",
    states=MappingProxyType({"active": "active", "revoked": "revoked", "held": "held", "unsafe plaintext": "UNSAFE: without TLS"}),
    add="Add a peer",
    others="A peer without TLS, or one with a certificate of an outside CA, is added with the command line.",
    alerts="A peer that may find, get or move sees patients: that is marked in the record of accesses, and the auditor is alerted.",
    recipe="To enter at the device",
    recipe_help="All that it needs to call us.",
    called="Called AE title (ours)",
    calling="Calling AE title (its own)",
    tls="TLS",
    tls_yes="on, with its own certificate (TLS 1.2 or 1.3, DICOM PS3.15 BCP 195)",
    tls_no="off: UNSAFE, this device proves nothing and nothing is encrypted",
    authority="Certificate authority to trust",
    authority_file="Our authority's certificate (file)",
    known_by="Its certificate is known by",
    no_door="no such door is open",
    none="-",
    back="Back to all peers",
    changes="Change",
    does=MappingProxyType(
        {
            "echo": "Try it: C-ECHO",
            "hold": "Hold",
            "release": "Release",
            "renew": "Make a further key and certificate",
            "revoke": "Revoke for good",
        }
    ),
    means=MappingProxyType(
        {
            "hold": "Its associations are cut within a second, and it is nobody until it is released.",
            "release": "It is let in again.",
            "renew": "A new key and certificate are shown once. What it has goes on until it ends.",
            "revoke": "Its associations are cut and its key is never taken again. To shut it out for a while, hold.",
        }
    ),
    echo_help="We call it at its host and port, and nowhere else, and ask whether it is there.",
    reached=MappingProxyType(
        {
            "answered": "It answered: name, network, TLS, AE titles and DICOM are all in order.",
            "no-such-host": "Its host name is not found: check the name and this machine's DNS.",
            "not-reached": "Nothing can be reached at that address and port: check both, whether the device is on, and the firewall.",
            "too-slow": "No answer in time: check address and port, and a firewall that drops what it does not like.",
            "tls": (
                "TLS failed: check that the port speaks TLS, that the device trusts our authority, and that it shows its own certificate."
            ),
            "not-dicom": "Something answers that does not speak DICOM: check the port, and whether it expects TLS.",
            "calling-title": "The device refuses: it does not know our AE title. Enter it there as one that may call.",
            "called-title": "The device refuses: its own AE title is another than the one that is written here.",
            "rejected": "The device refuses the association, and not for an AE title: look into its log.",
            "no-echo": "The device takes our association, and does not offer C-ECHO.",
            "broken-off": "The device hung up in the middle: look into its log.",
            "status": "The device answers C-ECHO with an error: look into its log.",
        }
    ),
    certificate="Certificate (PEM)",
    key="Private key (PEM)",
)

FRENCH: Final = PeersWords(
    title="Équipements",
    help="Les modalités, stations et archives qui peuvent appeler, et ce que chacune peut faire.",
    ae_title="AE title",
    addresses="Appelle depuis",
    addresses_help="Adresses ou réseaux séparés par une espace, comme 10.20.0.5/32.",
    may="Peut",
    may_named=MappingProxyType({"store": "déposer", "find": "chercher", "get": "récupérer", "move": "faire envoyer"}),
    destination="Joignable à",
    host="Hôte",
    port="Port",
    destination_help="Les deux, si des images doivent lui être envoyées ou s'il doit être essayé par C-ECHO ; sinon aucun.",
    ends="Fin du certificat",
    proof="Certificat",
    proofs=MappingProxyType({"issue": "Créer une clé et un certificat", "csr": "Signer sa demande", "certificate": "Il a un certificat"}),
    pem="Demande ou certificat (PEM)",
    pem_help="Inutile si nous créons la clé.",
    states=MappingProxyType({"active": "actif", "revoked": "révoqué", "held": "suspendu", "unsafe plaintext": "DANGEREUX : sans TLS"}),
    add="Ajouter un équipement",
    others="Un équipement sans TLS, ou avec le certificat d'une autorité extérieure, s'ajoute en ligne de commande.",
    alerts=(
        "Qui peut chercher, récupérer ou faire envoyer voit des patients : c'est marqué dans le registre des "
        "accès, et l'auditeur est alerté."
    ),
    recipe="À saisir sur l'appareil",
    recipe_help="Tout ce qu'il faut pour nous appeler.",
    called="AE title appelé (le nôtre)",
    calling="AE title appelant (le sien)",
    tls="TLS",
    tls_yes="activé, avec son propre certificat (TLS 1.2 ou 1.3, DICOM PS3.15 BCP 195)",
    tls_no="désactivé : DANGEREUX, cet appareil ne prouve rien et rien n'est chiffré",
    authority="Autorité de certification à approuver",
    authority_file="Certificat de notre autorité (fichier)",
    known_by="Son certificat est reconnu par",
    no_door="aucune porte de ce genre n'est ouverte",
    none="-",
    back="Retour à tous les équipements",
    changes="Modifier",
    does=MappingProxyType(
        {
            "echo": "Essayer : C-ECHO",
            "hold": "Suspendre",
            "release": "Rétablir",
            "renew": "Créer une clé et un certificat de plus",
            "revoke": "Révoquer définitivement",
        }
    ),
    means=MappingProxyType(
        {
            "hold": "Ses associations sont coupées en moins d'une seconde, et il n'est plus personne jusqu'au rétablissement.",
            "release": "Il est admis de nouveau.",
            "renew": "Une nouvelle clé et un certificat sont affichés une fois. Les précédents restent valables jusqu'à leur fin.",
            "revoke": "Ses associations sont coupées et sa clé n'est plus jamais acceptée. Pour une exclusion temporaire, suspendez.",
        }
    ),
    echo_help="Nous l'appelons à son hôte et port, et nulle part ailleurs, pour demander s'il est là.",
    reached=MappingProxyType(
        {
            "answered": "Il a répondu : nom, réseau, TLS, AE titles et DICOM sont en ordre.",
            "no-such-host": "Son nom d'hôte est introuvable : vérifiez le nom et le DNS de cette machine.",
            "not-reached": "Rien n'est joignable à cette adresse et ce port : vérifiez-les, si l'appareil est allumé, et le pare-feu.",
            "too-slow": "Pas de réponse à temps : vérifiez adresse et port, et un pare-feu qui ignorerait nos appels.",
            "tls": "Échec de TLS : vérifiez que le port parle TLS, que l'appareil approuve notre autorité et montre son propre certificat.",
            "not-dicom": "Ce qui répond ne parle pas DICOM : vérifiez le port, et s'il attend TLS.",
            "calling-title": "L'appareil refuse : il ne connaît pas notre AE title. Autorisez-le à appeler, sur l'appareil.",
            "called-title": "L'appareil refuse : son propre AE title n'est pas celui qui est écrit ici.",
            "rejected": "L'appareil refuse l'association, et non pour un AE title : consultez son journal.",
            "no-echo": "L'appareil accepte notre association, mais n'offre pas C-ECHO.",
            "broken-off": "L'appareil a raccroché en cours de route : consultez son journal.",
            "status": "L'appareil répond à C-ECHO par une erreur : consultez son journal.",
        }
    ),
    certificate="Certificat (PEM)",
    key="Clé privée (PEM)",
)
