"""The exact setting that closes a finding, by product or toolkit: each from the product's own configuration file, source or manual.

A product without an entry gets the rule's general remedy alone; a setting that nobody has read is not guessed.
"""

from collections.abc import Mapping

_ORTHANC_QUERY = (
    'In orthanc.json: "DicomAlwaysAllowFind": false, "DicomAlwaysAllowGet": false, "DicomAlwaysAllowMove": false, '
    '"DicomAlwaysAllowFindWorklist": false; list the stations under "DicomModalities" with their rights, "DicomCheckModalityHost": true, '
    '"DicomCheckCalledAet": true.'
)
_ORTHANC_WEB = (
    'In orthanc.json: "AuthenticationEnabled": true with "RegisteredUsers", or "RemoteAccessAllowed": false behind a proxy that signs '
    'people in; "SslEnabled": true.'
)
_ORTHANC_STORE = (
    'In orthanc.json: "DicomAlwaysAllowStore": false; list the modalities under "DicomModalities" with "AllowStore": true, and '
    '"DicomCheckModalityHost": true; "WebDavUploadAllowed": false.'
)
_ORTHANC_ASSOCIATION = 'In orthanc.json: "DicomCheckCalledAet": true, "DicomCheckModalityHost": true, "DicomAlwaysAllowEcho": false.'
_ORTHANC_TLS = (
    'In orthanc.json: "DicomTlsEnabled": true with "DicomTlsCertificate", "DicomTlsPrivateKey", "DicomTlsTrustedCertificates" and '
    '"DicomTlsRemoteCertificateRequired": true.'
)
_ORTHANC_SUITES = (
    'DICOM, Orthanc 1.12.4 and later: "DicomTlsMinimumProtocolVersion": 4 (TLS 1.2), "DicomTlsCiphersAccepted" of ECDHE suites with GCM '
    "alone; before, it takes TLS 1.1 and AES128-SHA whatever is set: update it. HTTPS: "
    '"SslMinimumProtocolVersion": 4 and "SslCiphersAccepted" likewise, or nginx before it with ssl_protocols TLSv1.2 TLSv1.3.'
)
_DCM4CHEE_QUERY = (
    "In the archive's device configuration (LDAP): list the stations under dcmAcceptedCallingAETitle of every network AE; use the secured "
    "build (-D secure=all) for its web services."
)
_DCM4CHEE_WEB = "Install the secured build (-D secure=all; docker: the -secure images): the others have no sign-in at all."
_DCM4CHEE_TLS = (
    "In the archive's device configuration (LDAP), on every dcmNetworkConnection: dicomTLSCipherSuite "
    "TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384 and "
    "TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256 alone, dcmTLSProtocol TLSv1.2 and TLSv1.3, dcmTLSNeedClientAuth TRUE."
)
_DCM4CHEE_KEY = (
    'Replace key.p12 of the sample configuration (keystore and its password "secret") by a key of your own, and cacerts.p12 by your CA.'
)
_DCMTK_QUERY = (
    "If it is dcmqrscp: in dcmqrscp.cfg replace ANY in the lines of the AETable by the peers of the HostTable, which have a title and an "
    "address; keep other hosts off its port."
)
_DCMTK_STORE = (
    "If it is dcmqrscp: make the area R instead of RW, or replace ANY by the peers of the HostTable. If it is storescp: "
    "it checks no title; "
    "start it with +tls KEY CERTIFICATE +cf CA.pem, and keep other hosts off its port."
)
_DCMTK_TLS = (
    "Start it with +tls KEY CERTIFICATE +cf CA.pem --require-peer-cert where its version has them; else put stunnel in front of it."
)
_DICOOGLE_QUERY = (
    'In confs/server.xml: name the stations in allowed-aetitles of dicom-services, and hostname="127.0.0.1" for '
    "web-server behind a proxy that "
    "signs people in: its search itself asks for nothing."
)
_PYNETDICOM_QUERY = (
    "Set AE.require_calling_aet to the stations' titles and AE.require_called_aet = True, and give start_server an "
    "ssl_context that requires "
    "client certificates (verify_mode = CERT_REQUIRED)."
)
_OHIF_CONFIG = (
    "Take the password out of app-config.js: everyone who opens the viewer gets that file; sign people in by oidc, or at a proxy."
)

_QUERY: Mapping[str, str] = {
    "Orthanc": f"{_ORTHANC_QUERY} {_ORTHANC_WEB}",
    "dcm4chee-arc": _DCM4CHEE_QUERY,
    "dcm4che": _DCM4CHEE_QUERY,
    "DCMTK": _DCMTK_QUERY,
    "Dicoogle": _DICOOGLE_QUERY,
    "pynetdicom": _PYNETDICOM_QUERY,
}
_STORE: Mapping[str, str] = {
    "Orthanc": _ORTHANC_STORE,
    "dcm4chee-arc": _DCM4CHEE_QUERY,
    "dcm4che": _DCM4CHEE_QUERY,
    "DCMTK": _DCMTK_STORE,
    "Dicoogle": _DICOOGLE_QUERY,
    "pynetdicom": _PYNETDICOM_QUERY,
}
_SUITES: Mapping[str, str] = {"Orthanc": _ORTHANC_SUITES, "dcm4chee-arc": _DCM4CHEE_TLS, "dcm4che": _DCM4CHEE_TLS}

SETTINGS: Mapping[str, Mapping[str, str]] = {
    "images-open": _QUERY,
    "records-open": _QUERY,
    "product-interface-open": {"Orthanc": _ORTHANC_WEB, "Dicoogle": _DICOOGLE_QUERY, "dcm4chee-arc": _DCM4CHEE_WEB},
    "viewer-open": {"Orthanc": _ORTHANC_WEB, "dcm4chee-arc": _DCM4CHEE_WEB, "Dicoogle": _DICOOGLE_QUERY},
    "default-account": {
        "Orthanc": 'In orthanc.json: name your own users in "RegisteredUsers"; orthanc/orthanc is made only where there are none.',
        "Dicoogle": "Change the password of the user dicoogle in its web interface (Management, Users), or remove that user.",
    },
    "viewer-credentials": {"OHIF": _OHIF_CONFIG},
    "published-key": {"dcm4chee-arc": _DCM4CHEE_KEY, "dcm4che": _DCM4CHEE_KEY},
    # By C-STORE or by STOW-RS.
    "store-accepted": {**_STORE, "Orthanc": f"{_ORTHANC_STORE} {_ORTHANC_WEB}"},
    "store-offered": _STORE,
    "any-origin": {
        "Orthanc": "Orthanc sends no such header itself: look at the proxy before it (nginx: add_header Access-Control-Allow-Origin)."
    },
    "any-origin-open": {
        "Orthanc": "Orthanc sends no such header itself: look at the proxy before it (nginx: add_header Access-Control-Allow-Origin).",
        "Dicoogle": "In confs/server.xml: set allowed-origins of web-server to the address of your own pages instead of *.",
    },
    "dicom-unencrypted": {
        "Orthanc": _ORTHANC_TLS,
        "DCMTK": _DCMTK_TLS,
        "dcm4chee-arc": "Turn the connection dicom (11112) off and leave dicom-tls (2762) alone. " + _DCM4CHEE_TLS,
        "dcm4che": "Turn the plain connection off and leave the one with TLS alone. " + _DCM4CHEE_TLS,
        "pynetdicom": _PYNETDICOM_QUERY,
    },
    "web-unencrypted": {"Orthanc": 'Put a proxy with TLS before it, or set "SslEnabled": true with "SslCertificate".'},
    "tls-old-version": _SUITES,
    "tls-weak-suites": _SUITES,
    "tls-no-protection": _SUITES,
    "strangers-associate": {
        "Orthanc": _ORTHANC_ASSOCIATION,
        "DCMTK": _DCMTK_QUERY,
        "dcm4chee-arc": _DCM4CHEE_QUERY,
        "dcm4che": _DCM4CHEE_QUERY,
        "Dicoogle": _DICOOGLE_QUERY,
        "pynetdicom": _PYNETDICOM_QUERY,
    },
}


def setting(finding: str, *names: str) -> str:
    """What to set for a finding in the first of these products or toolkits that is known; empty where none is.

    >>> setting("default-account", "", "DCMTK"), setting("tls-weak-suites", "", "dcm4che")[:7]
    ('', 'In the ')
    """
    known = SETTINGS.get(finding, {})
    return next((known[name] for name in names if name in known), "")
