"""docs/commands.md is what the commands say of themselves."""

from __future__ import annotations

from lab.cli.main import cli
from scripts import commands


def test_the_page_of_commands_is_current() -> None:
    assert commands.PAGE.read_text(encoding="utf-8") == commands.text(), "'make docs' writes it again"


def test_every_command_has_a_section_with_its_options() -> None:
    page = commands.text()
    single = {name for name in cli.commands if name != "images"} | {"images save", "images load"}
    for name in single:
        assert f"\n## lab {name}\n" in page
    sections = {each.splitlines()[0]: each for each in page.split("\n## ")[1:]}
    assert len(sections) == len(single)
    assert "| `--failover [none\\|automatic]` |" in sections["lab up"]
    assert "[default: 1; 1<=x<=1000]" in sections["lab run"]


def test_a_changed_option_shows() -> None:
    option = next(each for each in commands._options(cli.commands["up"]) if each.name == "stop_others")
    before = commands.text()
    option.help, kept = "Something else.", option.help
    try:
        assert commands.text() != before
    finally:
        option.help = kept
