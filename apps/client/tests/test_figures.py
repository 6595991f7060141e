from __future__ import annotations

from client.figures import Figures, escaped


def test_figures_are_counted_from_the_beginning() -> None:
    figures = Figures()
    for kind, good in (("read", True), ("read", True), ("write", False)):
        figures.count(kind, good)
    assert [line for line in figures.text().splitlines() if line.startswith("lab_arrivals_total")] == [
        'lab_arrivals_total{kind="read",outcome="good"} 2',
        'lab_arrivals_total{kind="read",outcome="bad"} 0',
        'lab_arrivals_total{kind="write",outcome="good"} 0',
        'lab_arrivals_total{kind="write",outcome="bad"} 1',
    ]


def test_what_is_broken_is_named() -> None:
    figures = Figures()
    assert 'lab_fault_active{fault=""} 0' in figures.text()
    figures.fault = 'kill "web1"\n'
    assert 'lab_fault_active{fault="kill \\"web1\\"\\n"} 1' in figures.text()
    assert escaped("\\") == "\\\\"


def test_answer_is_whole_and_ends_as_openmetrics_must() -> None:
    head, _, body = Figures().answer().partition(b"\r\n\r\n")
    assert b"application/openmetrics-text" in head
    assert f"Content-Length: {len(body)}".encode() in head
    assert body.endswith(b"# EOF\n")
