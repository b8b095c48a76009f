"""The shards of one survey put together: all of them, each once, whole, of one scope and one method, or nothing."""

import dataclasses
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from leadglass.errors import ConfigurationError
from leadglass.survey import journal as journals
from leadglass.survey.folder import Folder, Identities, Seal, stay_encrypted
from leadglass.survey.journal import SoFar
from leadglass.survey.report import write_reports
from leadglass.survey.results import Results
from leadglass.survey.run import check_folder


def merge(shards: Sequence[Path], out: Path, *, seal: Seal | None = None, identities: Identities | None = None) -> Results:
    """Write into `out` the reports that the survey would have given without `--shard`.

    Raises `ConfigurationError`, which says what to do, where a shard is missing, twice, unfinished, or of another scope.
    """
    folder = Folder(out, seal)
    check_folder(folder)
    sources = [Folder(path, identities=identities) for path in shards]
    stay_encrypted(folder, [each for each in sources if each.is_encrypted(journals.NAME)])
    parts = [(each.path, journals.load(each)) for each in sources]
    merged = merged_of(parts)
    write_reports(merged, folder)
    return merged


def merged_of(parts: Sequence[tuple[Path, SoFar]]) -> Results:
    """The results of the whole scope."""
    _check_shards(parts)
    first = parts[0][1]
    plans = [so_far.plan for _, so_far in parts if so_far.plan is not None]
    whole = SoFar(dataclasses.replace(first.begin, shard="1/1", started=min(so_far.begin.started for _, so_far in parts)))
    for path, so_far in parts:
        if both := whole.keys() & so_far.keys():
            name = so_far.scope.target[min(both)[0]].name
            raise ConfigurationError(
                f"{path} and another shard both asked {name}: its name led to another address there; survey that shard again, then merge"
            )
        whole.found |= so_far.found
        whole.silent |= so_far.silent
        whole.faults |= so_far.faults
        whole.seconds = max(whole.seconds, so_far.seconds)
    systems = max(plan.systems for plan in plans)
    if whole.done != systems:
        missing = f"{systems - whole.done} of the scope's {systems} systems are in no shard"
        more = f"the shards have {whole.done} systems, the scope has {systems}"
        raise ConfigurationError(
            f"{missing if whole.done < systems else more}: a name led to other addresses between the shards; survey them again, then merge"
        )
    # Every shard tells of every target that the scope refuses; of two that say the same, twice.
    refused = list(plans[0].refused)
    for plan in plans[1:]:
        refused += (Counter(plan.refused) - Counter(refused)).elements()
    whole.plan = dataclasses.replace(
        plans[0],
        mine=systems,
        refused=tuple(refused),
        unproven=tuple(each for plan in plans for each in plan.unproven),
        proven=tuple(each for plan in plans for each in plan.proven),
    )
    runs = [so_far.begin.run_id for _, so_far in parts]
    return dataclasses.replace(whole.results(), run_id=" ".join(runs))


def _check_shards(parts: Sequence[tuple[Path, SoFar]]) -> None:
    first_path, first = parts[0]
    count = first.shard.count
    seen: dict[int, Path] = {}
    for path, so_far in parts:
        if so_far.begin.digest != first.begin.digest:
            raise ConfigurationError(
                f"{path} was surveyed with another scope, level or ca_file than {first_path}: merge shards of one scope"
            )
        if set(so_far.scope.limits.opt_out) != set(first.scope.limits.opt_out):
            raise ConfigurationError(
                f"{path} was surveyed with another opt_out than {first_path}: go on with each as opt_out is now (--resume), then merge"
            )
        if so_far.shard.count != count:
            raise ConfigurationError(f"{path} is shard {so_far.shard}, {first_path} is {first.shard}: merge shards of one split")
        if so_far.shard.number in seen:
            raise ConfigurationError(f"{seen[so_far.shard.number]} and {path} are both shard {so_far.shard}: name each shard once")
        seen[so_far.shard.number] = path
        if so_far.plan is None or so_far.left:
            raise ConfigurationError(f"{path} was not finished ({so_far.left or 'all'} systems left): go on with it (--resume), then merge")
    if missing := [number for number in range(1, count + 1) if number not in seen]:
        listed = ", ".join(f"{number}/{count}" for number in missing[:10]) + (" ..." if len(missing) > 10 else "")
        raise ConfigurationError(f"missing shard {listed}: survey it (--shard {missing[0]}/{count}) and name its folder too")
