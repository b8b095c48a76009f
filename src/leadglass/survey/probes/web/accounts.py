"""The one documented account of a recognised product, tried once where the scope's `default_accounts` asks for it; never a list."""

import base64

from leadglass.survey.observations import DefaultAccount, Ending, WebProduct
from leadglass.survey.webclient import Page, WebClient

_REFUSED = frozenset({400, 401, 403})


async def look(client: WebClient, product: WebProduct | None, sign_in_at: str) -> DefaultAccount | None:
    """Whether the product takes its documented account; None where it is none of those that have one.

    `sign_in_at`: the path that asked for a sign-in; empty where none did.
    """
    match product:
        case WebProduct.ORTHANC if sign_in_at:
            # Created in its code where remote access is on and nobody is registered.
            credentials = base64.b64encode(b"orthanc:orthanc").decode()
            return _judged(await client.get(sign_in_at, headers=(("Authorization", f"Basic {credentials}"),)))
        case WebProduct.DICOOGLE:
            # Its search asks for no sign-in, its administration does (UsersStruct of its source).
            return _judged(await client.send_form("/login", {"username": "dicoogle", "password": "dicoogle"}))
        case _:
            return None


def _judged(page: Page | Ending) -> DefaultAccount:
    if not isinstance(page, Ending) and page.status == 200 and page.is_json:
        return DefaultAccount.ACCEPTED
    if not isinstance(page, Ending) and page.status in _REFUSED:
        return DefaultAccount.REFUSED
    return DefaultAccount.NO_ANSWER
