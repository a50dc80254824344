"""
The desk on a real API server, with the roles and policies of the installation: who may see, who may say what.

The desk has no rights of its own, so that all of it is the API server's answer.
"""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from canaryd.desk import ClusterDesk, NotGranted, SeenRun, ask_for
from canaryd.kube import CANARY_RECORDS, CANARY_RUNS
from canaryd.model.run import Command, Record, Run
from canaryd.store.cluster import ClusterStore
from tests.deploy.conftest import Installed
from tests.desk.places import standing
from tests.stage import plan
from tests.store.caches import Looked

pytestmark = pytest.mark.xdist_group("real-api-server")


@pytest.fixture
def run(installed: Installed) -> Iterator[Run]:
    """A run at its gate, as the controller keeps one."""
    of = plan(gate_at=0)
    of = of.model_copy(update={"metadata": of.metadata.model_copy(update={"namespace": installed.namespace})})
    kube = installed.as_account("canaryd")
    caches = [Looked(kube, kind, installed.namespace) for kind in (CANARY_RUNS, CANARY_RECORDS)]
    store = ClusterStore(kube, *caches, namespaces=(installed.namespace,))
    yield store.save(Record(standing("at-the-gate", plan=of))).run
    for kind in (CANARY_RECORDS, CANARY_RUNS):
        installed.admin.delete(kind, installed.namespace, "at-the-gate")


def of_person(installed: Installed, name: str, role: str) -> tuple[ClusterDesk, SeenRun]:
    """Their desk, and the run as they see it."""
    desk = ClusterDesk(installed.person(name, role), (installed.namespace,))
    [seen] = desk.runs()
    return desk, seen


def heard(installed: Installed) -> list[Command]:
    from canaryd.store.objects import commands_of

    return list(commands_of(installed.admin.get(CANARY_RUNS, installed.namespace, "at-the-gate")))


def test_who_may_look_sees_all_of_it_and_says_nothing(installed: Installed, run: Run) -> None:
    desk, seen = of_person(installed, "vera", "canaryd-viewer")
    assert desk.run(seen) == run
    for verb, role in (("abort", "canaryd-operator"), ("approve", "canaryd-approver")):
        with pytest.raises(NotGranted, match=f"--clusterrole={role} --serviceaccount={installed.namespace}:vera"):
            desk.ask(seen, ask_for(verb, run, desk.me()))
    assert heard(installed) == []


def test_an_operator_acts_in_their_own_name_and_approves_nothing(installed: Installed, run: Run) -> None:
    """The API server knows the name; another's is refused, whatever is typed."""
    desk, seen = of_person(installed, "olga", "canaryd-operator")
    with pytest.raises(NotGranted, match="needs the verb `approve`"):
        desk.ask(seen, ask_for("approve", run, desk.me()))
    with pytest.raises(NotGranted, match="by must be"):
        desk.ask(seen, ask_for("hold", run, "somebody-else"))
    for verb in ("hold", "advance", "abort"):
        desk.ask(seen, ask_for(verb, run, desk.me(), "the shop calls"))
    assert [(one.verb, one.by) for one in heard(installed)] == [
        *(("hold", installed.user("olga")), ("advance", installed.user("olga")), ("abort", installed.user("olga")))
    ]


def test_an_approver_approves_and_does_nothing_else(installed: Installed, run: Run) -> None:
    desk, seen = of_person(installed, "paul", "canaryd-approver")
    for verb in ("hold", "advance", "skip", "promote", "adopt", "retry"):
        with pytest.raises(NotGranted, match="needs the verb `operate`"):
            desk.ask(seen, ask_for(verb, run, desk.me()))
    desk.ask(seen, ask_for("approve", run, desk.me()))
    assert [one.verb for one in heard(installed)] == ["approve"]


def test_who_has_no_role_is_told_which_to_ask_for(installed: Installed, run: Run) -> None:
    desk = ClusterDesk(installed.person("nora"), (installed.namespace,))
    grant = f"kubectl create rolebinding canaryd-viewer-nora --clusterrole=canaryd-viewer.* -n {installed.namespace}"
    with pytest.raises(NotGranted, match=grant):
        desk.runs()
