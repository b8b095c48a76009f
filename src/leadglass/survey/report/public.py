"""The edition that can be passed on: what would tell where a system is, is not in it."""

import dataclasses
from collections.abc import Sequence

from leadglass.survey.addresses import RefusedTarget
from leadglass.survey.report import worldmap
from leadglass.survey.results import Results
from leadglass.survey.scope import Scope

NOT_NAMED = "not named in this edition"


def without_addresses(results: Results) -> Results:
    """`results` with its systems numbered, the worst first, and nothing of the scope but what its [public] table lets be named.

    Names, hosts, targets and opt-outs are gone from the value itself, not merely unprinted. Sites are numbered unless `public.sites`;
    owner and authoriser are left out unless `public.owner`. A mandate stays: it is printed in every report. A country that is not a
    code of the map could be any text, and is left out.
    """
    public = results.scope.public
    sites = {key: key[1] if public.sites or not key[1] else f"Site {number}" for number, key in enumerate(_sites(results), 1)}
    targets = tuple(
        dataclasses.replace(
            result,
            name=f"System {number}",
            host="",
            country=_code(result.country),
            site=sites[result.country, result.site],
        )
        for number, result in enumerate(results.worst_first, 1)
    )
    refused = tuple(RefusedTarget(f"Target {number}", "", "not surveyed, or not so far") for number, _ in enumerate(results.refused, 1))
    proven = tuple(dataclasses.replace(each, name=f"Host {number}", host="") for number, each in enumerate(results.proven, 1))
    # Named one by one: what results may hold one day is not in this edition until somebody has judged it.
    return Results(
        scope=_scope(results.scope),
        started=results.started,
        seconds=results.seconds,
        run_id=results.run_id,
        targets=targets,
        refused=refused,
        proven=proven,
        addresses_asked=results.addresses_asked,
        addresses_silent=results.addresses_silent,
        left=results.left,
        authority_ended=results.authority_ended,
        shard=results.shard,
    )


def _sites(results: Results) -> Sequence[tuple[str, str]]:
    """In the order of the worst system, so that the numbers say nothing of the scope's order."""
    return list(dict.fromkeys((result.country, result.site) for result in results.worst_first))


def _code(country: str) -> str:
    return country.strip().upper() if worldmap.is_known(country) else ""


def _scope(scope: Scope) -> Scope:
    authority = scope.authority
    named = authority if scope.public.owner else authority.model_copy(update={"owner": NOT_NAMED, "authorised_by": NOT_NAMED})
    limits = scope.limits.model_copy(update={"opt_out": (), "ca_file": ""})
    return Scope(authority=named.model_copy(update={"contact": NOT_NAMED}), limits=limits, public=scope.public)
