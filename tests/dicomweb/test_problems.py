import importlib
import pkgutil

import leadglass
from leadglass import errors
from leadglass.errors import LeadglassError
from leadglass.wire.dicomweb.problems import ANSWERS, BadRequest, answer_to


def branches(root: type[LeadglassError]) -> set[type[LeadglassError]]:
    return {root}.union(*(branches(child) for child in root.__subclasses__()))


def test_every_error_of_the_tree_has_an_answer_of_its_own() -> None:
    missing = {kind.__name__ for kind in branches(LeadglassError) if kind.__module__ == errors.__name__ and kind not in ANSWERS}
    assert not missing


def test_an_error_defined_elsewhere_is_answered_by_its_branch() -> None:
    for module in pkgutil.walk_packages(leadglass.__path__, "leadglass."):
        if not module.name.startswith(("leadglass.cli", "leadglass.demo", "leadglass.__main__")):
            importlib.import_module(module.name)
    for kind in branches(LeadglassError) - {BadRequest}:
        nearest = next(parent for parent in kind.__mro__ if parent in ANSWERS)
        assert nearest is not LeadglassError or kind is LeadglassError, kind
        assert answer_to(kind.__new__(kind)).status == ANSWERS[nearest].status


def test_our_own_faults_tell_nothing() -> None:
    for kind, answer in ANSWERS.items():
        if answer.status >= 500:
            assert answer.text is not None, kind


def test_who_is_not_identified_learns_one_thing() -> None:
    answer = answer_to(errors.NotIdentified("no such token"))
    assert (answer.status, answer.text, dict(answer.fields)) == (401, "a bearer token is needed", {"WWW-Authenticate": "Bearer"})
