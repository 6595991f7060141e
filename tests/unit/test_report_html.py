from __future__ import annotations

import re
import time
from collections import Counter
from dataclasses import replace
from html.parser import HTMLParser
from itertools import pairwise
from pathlib import Path
from xml.etree import ElementTree

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lab.analysis.summary import summarise
from lab.checker.validity import generator_report
from lab.model.history import Event
from lab.report import svg, svg_strip
from lab.report.dots import Dot, DotRow, dots_chart, placed
from lab.report.html_page import SIZE_MAX_BYTES, TABLE_ROWS_MAX, matrix_page, run_page
from lab.report.waterfall import steps
from tests.unit.helpers import EVENTS, arrival, bad, record, result, run_info
from tests.unit.reports import WATCHED, a_matrix, a_run, hostile, hostile_matrix, invalid, silent

GENERATED_S = 5.0
PAGES = ("run", "matrix")
PLAIN_TAGS = {"html", "head", "meta", "title", "style", "body", "main", "script", "header", "footer", "section"}
PLAIN_TAGS |= {"p", "b", "i", "h1", "h2", "h3", "ul", "li", "span", "small", "button", "div", "code", "details", "summary"}
PLAIN_TAGS |= {"table", "thead", "tbody", "tr", "th", "td", "figure", "figcaption"}
DRAWN_TAGS = {"svg", "g", "rect", "line", "path", "text", "circle", "polygon"}


class Page(HTMLParser):
    """What a browser would make of a page."""

    def __init__(self, content: str) -> None:
        super().__init__()
        self.tags: Counter[str] = Counter()
        self.attributes: list[tuple[str, str]] = []
        self.text = ""
        self.feed(content)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags[tag] += 1
        self.attributes += [(name, value or "") for name, value in attrs]

    def handle_data(self, data: str) -> None:
        self.text += data


def page_of(*gone: tuple[float, float]) -> Page:
    return Page(run_page(*a_run(record(*gone))))


@pytest.mark.parametrize("kind", PAGES)
def test_what_comes_from_outside_stays_text(kind: str) -> None:
    page = Page(run_page(*hostile()) if kind == "run" else matrix_page(hostile_matrix()))
    assert set(page.tags) <= PLAIN_TAGS | DRAWN_TAGS
    assert page.tags["script"] == 1
    assert [name for name, _ in page.attributes if name.startswith("on")] == []
    assert "alert(1)" in page.text


@pytest.mark.parametrize("kind", PAGES)
def test_page_asks_nothing_of_a_network(kind: str) -> None:
    content = run_page(*a_run(record((2.0, 3.0), events=WATCHED))) if kind == "run" else matrix_page(a_matrix())
    assert not re.search(r"https?:|//[a-z]|url\(|@import|<link|<iframe|src=|href=", content)
    assert "default-src 'none'" in content


def test_drawings_are_well_formed() -> None:
    content = run_page(*a_run(record((2.0, 3.0), events=WATCHED))) + matrix_page(a_matrix())
    drawings = re.findall(r"<svg.*?</svg>", content, re.DOTALL)
    assert len(drawings) == 6  # dots, trial, steps; a fault each of the comparison, also the one without a valid trial
    for drawing in drawings:
        ElementTree.fromstring(drawing)


def test_page_says_it_in_one_sentence_and_in_figures() -> None:
    text = " ".join(page_of((2.0, 3.0)).text.split()).replace("\u00a0", " ")
    assert (
        "A web box is killed: the longest outage was 1.02 s, the longest gap between two successes 1.03 s and no acknowledged write was lost."
        in text
    )
    assert "refuted Expected: longest outage at most 1 s; lost writes at most 0." in text
    assert "Refuted: longest outage at most 1 s: was 1.02 s" in text
    assert "85.71% reads answered in time 96 of 672 failed" in text.replace("%reads", "% reads").replace("time96", "time 96")


def test_headline_without_an_outage() -> None:
    assert (
        "no user noticed, the longest gap between two successes 0.03\u00a0s and no acknowledged write was lost" in page_of().text
    )


def test_censored_outage_is_a_bound_everywhere() -> None:
    page = page_of((2.0, 5.25))
    assert "the longest outage was at least 3.00\u00a0s" in page.text
    assert "median ≥ 3.00 s" in page.text
    assert "polygon" in page.tags


def test_run_without_writes() -> None:
    reads = tuple(arrival(at / 100, number=at) for at in range(700))
    whole = record(arrivals=reads, generator=generator_report(reads, 700, 700, 0.1), final_orders={"db": {}})
    text = Page(run_page(*a_run(whole))).text
    assert "no writes were made" in text
    assert "no write was acknowledged" in text


def test_trial_that_is_not_valid_is_shown_and_does_not_count() -> None:
    page = Page(run_page(*a_run(invalid(1, (2.0, 3.0)), record(number=2))))
    assert "a hollow dot and a grey row do not count" in page.text
    assert "1 (not valid)" in page.text
    assert "no user noticed" in page.text
    assert ("class", "trial-dot hollow") in page.attributes
    assert page.attributes.count(("class", "invalid")) == 1
    assert ".invalid td { color: var(--soft)" in page.text
    assert "1.02 s" in page.text  # its figures are shown all the same


def test_run_of_which_nothing_can_be_said() -> None:
    assert "nothing can be said, the generator used 90% of a processor" in Page(run_page(*a_run(invalid()))).text
    assert "nothing can be said, no trial was completed" in Page(run_page(*a_run())).text
    assert "no reads were made" in Page(run_page(*a_run(silent()))).text


def test_run_without_phases_has_no_bands_and_no_steps() -> None:
    whole = record(events=(Event(7.0, "stop"),), targets=())
    page = Page(run_page(*a_run(whole, info=run_info(has_fault=False, title="Nothing is broken"))))
    assert "Step by step" not in page.text
    assert "Red band" not in page.text
    assert "no fault was injected" in page.text


def test_marks_bands_and_boxes_of_a_failover() -> None:
    content = run_page(*a_run(record((2.0, 3.0), events=WATCHED)))
    for said in (
        "web1: fault injected",
        "failure detected +0.20 s",
        "new primary elected +0.40 s",
        "failover complete +0.50 s",
        "service restored +1.02 s",
    ):
        assert said in content
    for class_ in ("band-fault", "band-healed", "st-primary", "st-standby", "st-waiting", "st-none"):
        assert f'class="{class_}"' in content
    assert "database: none 2.1 to 5.3 s" in content
    assert {"served by", "via load balancer", "databases", "VIP", "failures tolerated"} <= set(
        re.findall(r'class="name">([^<]+)<', content)
    )


def test_row_for_each_tier_says_for_how_long_nothing_was_left_and_what_that_costs() -> None:
    page = Page(run_page(*a_run(record((2.0, 3.0), events=WATCHED))))
    assert "Redundancy of each tier" in page.text
    assert "1 of 2 at work" in page.text
    assert "Model, not measured: what the time without redundancy costs" in page.text
    assert "Redundancy of each tier" not in Page(run_page(*a_run(record((2.0, 3.0))))).text


def test_steps_follow_each_other() -> None:
    found = steps(result((2.0, 3.0)))
    assert [step.phase for step in found] == ["impact_s", "verified_s", "recover_s", "heal_s", "redundancy_restored_s"]
    assert found[0].start_s == 0.0
    assert all(before.end_s == after.start_s for before, after in pairwise(found))
    assert [step.is_outage for step in found] == [True, True, True, False, False]
    assert steps(result((2.0, 3.0), phases={})) == ()


def test_long_trial_is_drawn_coarsely_and_closely_around_the_fault_and_stays_small() -> None:
    arrivals = []
    for number in range(120_000):
        at_s = number / 200
        # As scattered as may be, and one second in ten gone: the worst that a picture can be asked for.
        took_s = 0.001 * 1.0005 ** ((number * 7919) % 13_000)
        arrivals.append(bad(at_s, number=number) if int(at_s) % 10 == 5 else arrival(at_s, took_s, number=number))
    events = (
        Event(60.0, "inject", "kill web1"),
        Event(60.1, "fault-verified"),
        Event(300.0, "heal"),
        Event(310.0, "recovered"),
        Event(600.0, "stop"),
    )
    whole = record(arrivals=tuple(arrivals), events=events, generator=generator_report(arrivals, 120_000, 120_000, 0.1))
    run = a_run(whole)
    began = time.process_time()
    content = run_page(*run)
    assert time.process_time() - began < GENERATED_S
    assert len(content.encode()) < SIZE_MAX_BYTES
    assert "One bar is 800 ms" in content
    assert "Around the fault" in content


def test_run_of_very_many_trials_stays_small() -> None:
    # As many as may be asked for and five, each like one of two that were measured.
    few, two = a_run(record((2.0, 2.5), events=WATCHED), record((2.0, 3.5), events=WATCHED))
    numbers = range(1, TABLE_ROWS_MAX + 6)
    records = tuple(replace(two[number % 2], number=number) for number in numbers)
    trials = tuple(replace(few.trials[number % 2], number=number) for number in numbers)
    content = run_page(replace(few, trials=trials, summary=summarise(trials)), records)
    assert len(content.encode()) < SIZE_MAX_BYTES
    page = Page(content)
    assert 0 < page.tags["details"] < len(records)
    assert f"{len(records) - page.tags['details']} more trials are not drawn" in page.text
    assert "5 more trials are left out here" in page.text


def test_every_trial_is_a_dot_that_can_be_seen() -> None:
    dots = [Dot(0.0), Dot(0.0), Dot(0.0), Dot(2.0, censored=True), Dot(1.0, valid=False)]
    found = placed(dots, svg.Axis(0, 2, 0, 200))
    assert len({(x, y) for _, x, y in found}) == len(dots)
    chart = dots_chart([DotRow("longest outage", tuple(dots), None)], "dots")
    assert (chart.count("<circle"), chart.count("<polygon"), chart.count("hollow")) == (4, 1, 1)


@given(st.floats(0, 1e6), st.floats(1e-6, 1e6), st.integers(2, 12))
def test_ticks_are_round_few_and_within(low: float, length: float, most: int) -> None:
    axis = svg.Axis(low, low + length, 0.0, 100.0)
    ticks = axis.ticks(most)
    assert len(ticks) <= most + 1
    assert all(axis.low - length * 1e-6 <= tick <= axis.high + length * 1e-6 for tick in ticks)


@given(st.lists(st.tuples(st.floats(0, 1000), st.text(min_size=1, max_size=30)), max_size=12))
def test_labels_do_not_cover_each_other(wanted: list[tuple[float, str]]) -> None:
    found = svg.stacked([svg.Label(x, text) for x, text in wanted], 1000.0)
    for label, start, line in found:
        for other, begin, other_line in found:
            apart = start + label.width <= begin or begin + other.width <= start
            assert label is other or line != other_line or apart


@pytest.mark.parametrize(
    "drawing",
    [svg_strip.run(*hostile()), svg_strip.run(*a_run()), svg_strip.run(*a_run(silent())), svg_strip.comparison(hostile_matrix())],
)
def test_strip_is_a_file_of_its_own_and_escaped(drawing: str) -> None:
    root = ElementTree.fromstring(drawing)
    tags = {element.tag.rpartition("}")[2] for element in root.iter()}
    assert tags <= DRAWN_TAGS | {"style", "title"}
    assert "prefers-color-scheme:dark" in drawing
    assert len(drawing.encode()) < 100_000


def test_strip_shows_the_trial_nearest_to_the_median() -> None:
    run, records = a_run(*(record((2.0, end), number=number) for number, end in enumerate((4.0, 2.5, 3.0), 1)))
    assert svg_strip.typical(run, records)[1].number == 3
    assert svg_strip.typical(*a_run(invalid()))[1].number == 1
    assert "the longest outage was 1.02 s (median of 3 trials)" in " ".join(svg_strip.run(run, records).split())


def test_heat_map_says_every_cell() -> None:
    page = Page(matrix_page(a_matrix()))
    text = page.text.replace("\u00a0", " ")
    for said in ("≥ 6.20 s", "n/a", "?", "0 s", "3 lost", "split brain 1.50 s", "6.10 to 6.30 s", "8 boxes", "2.0 GiB", "1 box"):
        assert said in text
    classes = [value.split()[0] for name, value in page.attributes if name == "class" and value]
    assert {"heat-4", "heat-0", "heat-1", "na", "unknown", "untried"} <= set(classes)
    assert "1-single-server, the balancer is lost: there is no balancer" in text
    assert "1-single-server survives 0 of 1 fault with 1 box and 300 MiB, 5-redundant-load-balancers 1 of 2 with 8 boxes" in text


def test_empty_comparison() -> None:
    assert "Nothing was tried that can be compared." in Page(matrix_page(a_matrix(columns=(), rows=()))).text


def test_templates_are_shipped() -> None:
    folder = Path(svg.__file__).parent / "templates"
    assert {file.name for file in folder.iterdir()} >= {"layout.html.j2", "run.html.j2", "matrix.html.j2", "page.css", "page.js"}
    assert '"report/templates/*"' in (folder.parent.parent.parent / "pyproject.toml").read_text(encoding="utf-8")


def test_fault_that_was_never_healed_is_a_band_to_the_end() -> None:
    events = tuple(event for event in EVENTS if event.name not in ("heal", "recovered"))
    content = run_page(*a_run(record((2.0, 3.0), events=events)))
    assert 'class="band-fault"' in content
    assert 'class="band-healed"' not in content
