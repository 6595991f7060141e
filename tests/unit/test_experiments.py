from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path

import pytest

from lab.errors import UsageError
from lab.model.experiment import Experiment, Operator, Overload, Repair, RepairPolicy
from lab.model.fault import FaultKind, Step
from lab.model.measures import MEASURES, Expectation
from lab.model.topology import Stage
from lab.spec import experiments, stages
from tests.unit.helpers import BALANCERS, automatic, replicated, stage

GOOD = """\
title: A web box is killed
question: What happens if a web box dies?
fault: kill
target: web
fault_duration_s: 4.5
expect:
  writes_lost: {at_most: 0}
  availability_ratio: {at_least: 0.9, at_most: 1}
"""


def read(tmp_path: Path, text: str) -> Experiment:
    file = tmp_path / "mine.yaml"
    file.write_text(text, encoding="utf-8")
    return experiments.read(file)


@pytest.mark.parametrize("name", experiments.names())
def test_shipped_experiment_is_whole(name: str) -> None:
    experiment = experiments.find(name)
    assert experiment.name == name
    assert experiment.title
    assert experiment.question.endswith("?")
    assert experiment.fault_duration_s > 0
    assert "writes_lost" in {each.measure for each in experiment.expectations}
    assert experiment.breaks == (name != "baseline")


def test_everything_in_a_file_is_read(tmp_path: Path) -> None:
    assert read(tmp_path, GOOD) == Experiment(
        name="mine",
        title="A web box is killed",
        question="What happens if a web box dies?",
        steps=(Step(FaultKind.KILL, "web"),),
        baseline_s=2.0,
        fault_duration_s=4.5,
        cooldown_s=1.5,
        expectations=(Expectation("writes_lost", 0, None), Expectation("availability_ratio", 1, 0.9)),
    )


def test_steps_follow_each_other(tmp_path: Path) -> None:
    steps = "steps:\n  - {fault: kill, target: web}\n  - {fault: pause, target: db, delay_s: 2}\n"
    experiment = read(tmp_path, GOOD.replace("fault: kill\ntarget: web\n", steps))
    assert experiment.steps == (Step(FaultKind.KILL, "web"), Step(FaultKind.PAUSE, "db", delay_s=2.0))


def test_where_roles_are_and_what_is_broken_when_a_trial_begins(tmp_path: Path) -> None:
    more = "preconditions: {db.primary: zone:a, lb.active: service:lb1}\ninitial_faults:\n- {fault: kill, target: web}\n"
    experiment = read(tmp_path, GOOD + more + "operator: {delay_s: 1, action: failback, target: region:eu}\n")
    assert experiment.preconditions == {"db.primary": "zone:a", "lb.active": "service:lb1"}
    assert experiment.initial_faults == (Step(FaultKind.KILL, "web"),)
    assert experiment.operator == Operator(1.0, "failback", "region:eu")


@pytest.mark.parametrize(
    ("given", "on", "failover", "said"),
    [
        ("{db.primary: zone:a}", "6", None, ""),
        ("{db.primary: zone:q}", "6", None, "'zone:q' matches no box"),
        # A web box never has the primary's work to do.
        ("{db.primary: web}", "6", None, "'web' matches no box"),
        ("{lb.active: service:lb2}", "5", None, ""),
        ("{lb.active: service:lb}", "3", None, "nothing there can make lb.active another box"),
        ("{db.primary: service:db2}", "4", "none", "nothing there can make db.primary another box"),
        ("{db.primary: service:db2}", "4", "automatic", ""),
    ],
)
def test_a_role_can_only_be_given_to_who_could_play_it(
    tmp_path: Path, given: str, on: str, failover: str | None, said: str
) -> None:
    experiment = read(tmp_path, GOOD + f"preconditions: {given}\n")
    if not said:
        experiments.check_targets(experiment, stages.find(on, failover))
        return
    with pytest.raises(UsageError, match=said):
        experiments.check_targets(experiment, stages.find(on, failover))


BY_HAND = {"kill-primary-operator", "pause-primary-operator", "lagging-standby-operator"}
"""An operator promotes, where from stage 5 on a monitor does."""
FOR_LESS = BY_HAND | {"kill-box", "overload-web", "overload-web-unlimited"}
"""One box, or two web boxes of which one is to carry all."""
OF_THE_FLAVOUR = {"clock-monitor", "clock-primary", "clock-web"}
"""What needs images that are asked for (LAB_CLOCK)."""


@pytest.mark.parametrize(("number", "elsewhere"), [("6", ("region", "eu", "wan", "witness")), ("7", ("zone",))])
def test_what_the_earlier_stages_could_do_runs_on_the_last_two_as_well(number: str, elsewhere: tuple[str, ...]) -> None:
    stage, refused = replace(stages.find(number), own_disks=True), set()
    for name in experiments.names():
        try:
            experiments.check_targets(experiments.find(name), stage)
        except UsageError:
            refused.add(name)
    assert refused >= FOR_LESS | OF_THE_FLAVOUR
    assert all(set(name.split("-")) & set(elsewhere) for name in refused - FOR_LESS - OF_THE_FLAVOUR)


def test_nothing_broken_needs_no_target(tmp_path: Path) -> None:
    experiment = read(tmp_path, GOOD.replace("fault: kill\ntarget: web\n", "fault: none\n"))
    assert experiment.faults == ()
    assert len(experiment.steps) == 1


def test_load_afterwards_does_not_delay_the_fault(tmp_path: Path) -> None:
    experiment = read(tmp_path, GOOD + "cooldown_s: 5\n")
    assert experiment.cooldown_s == 5.0
    assert experiment.steps[0].delay_s == 0.0


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("fault_duration_s: 4.5", "observes: 4.5", ":5: 'observes' is not known here"),
        ("fault: kill", "fault: explode", ":3: fault must be one of none, kill,"),
        ("fault: kill", "fault: [kill]", ":3: fault must be one of"),
        ("fault: kill\n", "", ":1: fault must be one of"),
        ("target: web\n", "", ":1: a fault needs a target"),
        ("target: web", "target: 7", ":4: target must be a target, such as web or zone:a, not '7'"),
        ("fault: kill", "fault: none", ":4: a fault needs a target (and fault: none has none)"),
        ("  writes_lost:", "  writes_missing:", ":7: 'writes_missing' is not measured"),
        ("{at_most: 0}", "{at_most: few}", ":7: at_most must be a number from 0 to 1e+09, not 'few'"),
        ("{at_most: 0}", "{at_most: true}", ":7: at_most must be a number from 0 to 1e+09, not 'True'"),
        ("{at_most: 0}", "{below: 1}", ":7: 'below' is not known here"),
        ("{at_most: 0}", "{}", ":7: a measure needs at_most or at_least"),
        ("{at_most: 0}", "0", ":7: writes_lost must be a mapping, not '0'"),
        ("fault_duration_s: 4.5", "fault_duration_s: long", ":5: fault_duration_s must be a number of seconds"),
        ("fault_duration_s: 4.5", "fault_duration_s: -1", ":5: fault_duration_s must be a number of seconds"),
        ("fault_duration_s: 4.5", "fault_duration_s: 3601", ":5: fault_duration_s must be a number of seconds"),
        ("fault_duration_s: 4.5", "fault_duration_s: .nan", ":5: fault_duration_s must be a number of seconds"),
        ("title: A web box is killed", "title: ' '", ":1: title must be a line of text"),
        ("question: What happens if a web box dies?\n", "", ":1: 'question' is missing"),
        ("target: web", "target: web\nsteps: []", ":5: steps must be a list that is not empty"),
        ("fault: kill\ntarget: web\n", "steps: []\n", ":3: steps must be a list"),
        ("fault: kill\ntarget: web\n", "steps: [kill]\n", ":3: each of steps must be a mapping, not 'kill'"),
        ("fault: kill\ntarget: web\n", "steps:\n- {fault: kill, target: web, at: 3}\n", ":4: 'at' is not known here"),
        ("fault: kill\ntarget: web\n", "steps:\n- {fault: kill}\n", ":4: a fault needs a target"),
        ("target: web", "target: web\ntarget: db", ":5: 'target' stands here twice"),
        ("fault: kill", "fault: {kill", "this is not YAML"),
        ("target: web", "target: web\noperator: promote", ":5: operator must be a mapping"),
        ("target: web", "target: web\noperator: {delay_s: 3}", ":5: 'action' is missing"),
        (
            "target: web",
            "target: web\noperator: {action: pray}",
            ":5: action must be promote, switchover, failback or accept-loss, not 'pray'",
        ),
        (
            "target: web",
            "target: web\noperator: {action: promote, target: db2}",
            ":5: a switchover or a failback can have a target",
        ),
        (
            "target: web",
            "target: web\noperator: {action: switchover, target: 7}",
            ":5: target must be a target",
        ),
        ("target: web", "target: web\npreconditions: zone", ":5: preconditions must be a mapping, not 'zone'"),
        ("target: web", "target: web\npreconditions: {web: zone:a}", ":5: 'web' is not known here"),
        ("target: web", "target: web\npreconditions: {db.primary: 7}", ":5: db.primary must be a target"),
        ("target: web", "target: web\ninitial_faults: {fault: kill}", ":5: initial_faults must be a list, not a mapping"),
        ("target: web", "target: web\ninitial_faults:\n- {fault: kill}", ":6: a fault needs a target"),
        ("target: web", "target: web\noperator: {action: promote, at_s: 3}", ":5: 'at_s' is not known here"),
        ("target: web", "target: web\noperator: {action: promote, delay_s: -1}", ":5: delay_s must be a number"),
    ],
)
def test_error_names_file_and_line(tmp_path: Path, old: str, new: str, said: str) -> None:
    assert old in GOOD
    with pytest.raises(UsageError) as caught:
        read(tmp_path, GOOD.replace(old, new))
    assert caught.value.message.startswith(f"{tmp_path / 'mine.yaml'}:")
    assert said in caught.value.message


def test_experiment_without_expectations_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="'expect' is missing"):
        read(tmp_path, GOOD[: GOOD.index("expect:")])


def test_bound_that_is_not_a_number_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError):
        read(tmp_path, GOOD.replace("{at_most: 0}", "{at_most: .nan}"))


def test_find_by_name_by_path_and_not_at_all(tmp_path: Path) -> None:
    assert experiments.find("kill-web").name == "kill-web"
    (tmp_path / "mine.yml").write_text(GOOD, encoding="utf-8")
    assert experiments.find(str(tmp_path / "mine.yml")).name == "mine"
    with pytest.raises(UsageError, match="no experiment 'kill-moon'") as caught:
        experiments.find("kill-moon")
    assert "kill-web" in caught.value.hint
    assert "pause-web" not in caught.value.hint
    assert experiments.alike("puase-web")[0] == "pause-web"
    assert experiments.alike("?" * 10_000) == []
    assert all(len(", ".join(experiments.alike(each.partition("-")[0] + "-moon"))) < 400 for each in experiments.names())
    with pytest.raises(UsageError, match=r"nosuch\.yaml cannot be read"):
        experiments.find(str(tmp_path / "nosuch.yaml"))


def test_targets_are_checked_against_the_stage() -> None:
    experiments.check_targets(experiments.find("kill-web"), stage())
    experiments.check_targets(experiments.find("baseline"), stage())
    with pytest.raises(UsageError, match="kill-box on stage 3: the target 'box' matches no box"):
        experiments.check_targets(experiments.find("kill-box"), stage())


SWITCHOVER = GOOD.replace("fault: kill\ntarget: web\n", "fault: none\noperator: {delay_s: 0, action: switchover}\n")


def test_an_operator_alone_breaks_no_box(tmp_path: Path) -> None:
    experiment = read(tmp_path, SWITCHOVER)
    assert experiment.operator == Operator(0.0, "switchover")
    assert experiment.faults == ()
    assert experiment.breaks


def test_an_operator_takes_a_while_unless_said(tmp_path: Path) -> None:
    experiment = read(tmp_path, GOOD + "operator: {action: promote}\n")
    assert experiment.operator == Operator(20.0, "promote")


def test_switchover_needs_a_monitor(tmp_path: Path) -> None:
    experiment = read(tmp_path, SWITCHOVER)
    experiments.check_targets(experiment, automatic())
    for without in (replicated(), stage()):
        with pytest.raises(
            UsageError, match=f"mine needs a monitor, and stage {without.number} has none in compose.yaml"
        ) as caught:
            experiments.check_targets(experiment, without)
        assert "--failover automatic" in caught.value.hint


@pytest.mark.parametrize(
    ("target", "of", "fits"),
    [
        ("monitor", automatic(), True),
        ("monitor", replicated(), False),
        ("db.primary", stage(), True),
        ("db.standby", stage(), False),
        ("db.standby", replicated(), True),
        ("all:db.standby", automatic(), True),
        ("lb.active", automatic(), False),
        ("lb.active", automatic(balancers={**BALANCERS, "lb": "198.18.0.13"}), True),
        ("lb.passive", automatic(balancers={"lb": "198.18.0.13"}), True),
    ],
)
def test_roles_of_the_moment_are_targets_where_a_box_can_come_to_play_them(
    tmp_path: Path, target: str, of: Stage, fits: bool
) -> None:
    experiment = read(tmp_path, GOOD.replace("target: web", f"target: {target}"))
    if fits:
        experiments.check_targets(experiment, of)
    else:
        with pytest.raises(UsageError, match=f"the target '{target}' matches no box"):
            experiments.check_targets(experiment, of)


@pytest.mark.parametrize("measure", MEASURES)
def test_whatever_is_measured_can_be_expected(tmp_path: Path, measure: str) -> None:
    experiment = read(tmp_path, GOOD[: GOOD.index("  writes_lost")] + f"  {measure}: {{at_most: 0}}\n")
    assert Expectation(measure, 0, None) in experiment.expectations


# Repair, cascades, overload

STEPS = "steps:\n  - {fault: kill, target: web}\n  - {fault: kill, target: web, wait_for: redundant, timeout_s: 12, delay_s: 1}\n"


def test_a_step_may_wait_and_a_policy_may_repair(tmp_path: Path) -> None:
    more = "repair: {policy: replace}\nexpected_verdict: {none: refuted, replace: held}\n"
    experiment = read(tmp_path, GOOD.replace("fault: kill\ntarget: web\n", STEPS) + more)
    assert experiment.steps[1] == Step(FaultKind.KILL, "web", 1.0, wait_for="redundant", timeout_s=12.0)
    assert experiment.repair == Repair(RepairPolicy.REPLACE, 2.0)
    assert experiment.expected_verdicts == {"none": "refuted", "replace": "held"}


def test_an_overload_is_read(tmp_path: Path) -> None:
    assert read(tmp_path, GOOD + "overload: {cpus: 0.2, rate_ratio: 1.5}\n").overload == Overload(0.2, 1.5, 0)


@pytest.mark.parametrize(
    ("more", "said"),
    [
        ("repair: restart\n", ":9: repair must be a mapping"),
        ("repair: {policy: pray}\n", ":9: policy must be one of none, restart, replace"),
        ("repair: {policy: restart, at: 3}\n", ":9: 'at' is not known here"),
        ("repair: {policy: restart}\noperator: {action: promote}\n", ":9: an operator or a repair policy, not both"),
        ("expected_verdict: {none: maybe}\n", ":9: none must be held or refuted, not 'maybe'"),
        ("expected_verdict: {prayer: held}\n", ":9: 'prayer' is not known here"),
        ("expected_verdict: held\n", ":9: expected_verdict must be a mapping"),
        ("overload: 3\n", ":9: overload must be a mapping"),
        ("overload: {rate_ratio: 1.5}\n", ":9: 'cpus' is missing"),
        ("overload: {cpus: 0.1, rate_ratio: 9}\n", ":9: rate_ratio must be a number from 0.1 to 3"),
        ("overload: {cpus: 0.1, rate_ratio: 1, maxconn: 1.5}\n", ":9: maxconn must be a whole number"),
    ],
)
def test_what_is_wrong_about_repair_is_named(tmp_path: Path, more: str, said: str) -> None:
    with pytest.raises(UsageError, match=re.escape(said)):
        read(tmp_path, GOOD + more)


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("wait_for: redundant", "wait_for: whenever", "wait_for must be redundant or served"),
        ("wait_for: redundant, ", "", "there is nothing to wait for"),
    ],
)
def test_what_a_step_cannot_wait_for_is_named(tmp_path: Path, old: str, new: str, said: str) -> None:
    with pytest.raises(UsageError, match=said):
        read(tmp_path, GOOD.replace("fault: kill\ntarget: web\n", STEPS).replace(old, new))


STEP = "  - {{fault: {}, target: {}}}\n"
ONE, OTHER = "service:web1", "service:web2"


def steps_of(*pairs: str) -> str:
    """Steps as `kill service:web1` or `delay lb, delay_ms: 100`."""
    return "steps:\n" + "".join(STEP.format(*pair.split(" ", 1)) for pair in pairs)


@pytest.mark.parametrize(
    ("on", "pairs", "said"),
    [
        ("3", (f"kill {ONE}", f"kill {OTHER}"), ""),
        ("3", (f"kill {ONE}", f"kill {ONE}"), "kill of web1 for the second time"),
        ("3", (f"kill {ONE}", f"kill {ONE}, wait_for: redundant"), ""),
        ("3", (f"pause {ONE}", f"pause {ONE}"), "pause of web1 for the second time"),
        ("3", (f"crash {ONE}", f"crash {ONE}"), ""),
        ("3", (f"restart {ONE}", f"restart {ONE}"), ""),
        ("3", (f"stop {ONE}", f"crash {ONE}"), "crash of web1, which is down already after stop"),
        ("3", (f"crash {ONE}", f"kill {ONE}"), ""),
        # Chance, and a role that moves, may mean another box each time.
        ("3", ("kill web", "kill web"), ""),
        ("5", ("kill db.primary", "kill db.primary"), ""),
        ("3", ("kill random", "kill random"), ""),
        # A role that one box plays means that box.
        ("3", ("kill lb", "kill lb"), "kill of lb for the second time"),
        ("3", ("kill all:web", f"kill {ONE}"), "kill of web1 for the second time"),
        ("6", ("kill zone:a", f"kill {ONE}"), "kill of web1 for the second time"),
        ("6", ("kill zone:b", f"kill {ONE}"), ""),
        ("7", ("kill region:eu", "kill label:lab.region=eu"), "for the second time"),
        ("3", (f"delay {ONE}, delay_ms: 9", f"delay {OTHER}, delay_ms: 9"), ""),
        ("3", (f"delay {ONE}, delay_ms: 9", "loss all:web, loss_percent: 9"), "only one of delay, loss and bandwidth"),
        ("7", ("delay line:us, delay_ms: 9", "loss line:us, loss_percent: 9"), ""),
        ("7", ("delay region:us, delay_ms: 9", "loss line:us, loss_percent: 9"), ""),
        ("7", ("kill line:us", "kill web"), "kill is nothing that happens to a line"),
    ],
)
def test_faults_that_cannot_both_be_done_are_refused_beforehand(
    tmp_path: Path, on: str, pairs: tuple[str, ...], said: str
) -> None:
    text = GOOD.replace("fault: kill\ntarget: web\n", steps_of(*pairs))
    if not said:
        experiments.check_targets(read(tmp_path, text), stages.find(on))
        return
    with pytest.raises(UsageError, match=said):
        experiments.check_targets(read(tmp_path, text), stages.find(on))


@pytest.mark.parametrize(
    ("more", "expect", "is_seen"),
    [
        ("", "{downtime_longest_s: {at_most: 4.5}}", True),
        ("", "{downtime_longest_s: {at_most: 4.6}}", False),
        ("", "{writes_downtime_longest_s: {at_least: 5}}", False),
        # Not a time without the service, or one that goes on after the healing.
        ("", "{time_to_redundancy_s: {at_most: 60}, reads_failed: {at_most: 1000}}", True),
        ("operator: {delay_s: 20, action: promote}\n", "{downtime_longest_s: {at_most: 25}}", True),
        ("repair: {policy: restart, delay_s: 2}\n", "{downtime_longest_s: {at_most: 40}}", True),
        ("repair: {policy: restart, delay_s: 2}\n", "{downtime_longest_s: {at_most: 60}}", False),
    ],
)
def test_a_bound_is_within_what_is_watched(tmp_path: Path, more: str, expect: str, is_seen: bool) -> None:
    text = GOOD[: GOOD.index("expect:")] + more + f"expect: {expect}\n"
    if is_seen:
        assert read(tmp_path, text).expectations
        return
    with pytest.raises(UsageError, match=r"mine\.yaml:\d+: .* cannot be seen within"):
        read(tmp_path, text)
