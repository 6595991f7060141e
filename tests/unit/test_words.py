"""What people read keeps to the words of docs/glossary.md: output, help, documents, stage files, experiments."""

from __future__ import annotations

import ast
import re
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import pytest

from lab.spec.stages import ROOT

GLOSSARY = ROOT / "docs" / "glossary.md"
LIST_TITLE = "## Words we do not use"
COMMAND_DECORATORS = ("command", "group")

EXCEPTIONS: dict[tuple[str, str], str] = {}
"""Where a word may be all the same: by file and line as it is, the reason. None so far: phrases need no exceptions."""


# The glossary


def rows(text: str) -> list[tuple[str, str]]:
    """The first two cells of every row of the tables of a text, without titles and rules."""
    found = re.findall(r"^\| *(.*?) *\| *(.*?) *\|$", text, re.M)
    return [(first, second) for first, second in found if not re.fullmatch(r":?-+:?|term|word", first)]


def terms(text: str) -> list[str]:
    """Every term that the tables of a text explain: what is bold or code in the first cell."""
    return [bold or code for first, _ in rows(text) for bold, code in re.findall(r"\*\*(.+?)\*\*|`(.+?)`", first)]


def words(text: str) -> dict[str, str]:
    """The words that are not to be used, and what to say instead."""
    return {word: instead for first, instead in rows(text) for word in re.findall(r"`(.+?)`", first)}


EXPLAINED, _, LISTED = GLOSSARY.read_text(encoding="utf-8").partition(LIST_TITLE)
WORDS = words(LISTED)


# Finding them


@dataclass(frozen=True)
class Text:
    """A piece of what people read, and where it begins."""

    path: Path
    line: int
    text: str


@dataclass(frozen=True)
class Found:
    """A word that should not be there."""

    path: Path
    line: int
    word: str
    in_line: str

    def __str__(self) -> str:
        return f"{self.path.relative_to(ROOT).as_posix()}:{self.line}: '{self.word}', say: {WORDS.get(self.word, '')}"


def pattern(word: str) -> re.Pattern[str]:
    """A phrase as whole words, in any case, also over the end of a line or of a comment.

    Of a single word `_` and `-` are ends, too: bite_s and no-bite have a bite in them.
    """
    parts = word.split()
    inner, end = r"[\s#]+".join(map(re.escape, parts)), "A-Za-z_" if len(parts) > 1 else "A-Za-z"
    return re.compile(rf"(?<![{end}']){inner}(?![{end}])", re.IGNORECASE)


PATTERNS = {word: pattern(word) for word in WORDS}
ANY = re.compile("|".join(each.pattern for each in PATTERNS.values()), re.IGNORECASE)


def found_in(text: Text) -> Iterator[Found]:
    """Every word of the list in a text, with its line."""
    for word, each in PATTERNS.items() if ANY.search(text.text) else ():
        for match in each.finditer(text.text):
            before = text.text.count("\n", 0, match.start())
            yield Found(text.path, text.line + before, word, text.text.splitlines()[before].strip())


def not_excepted(texts: Iterable[Text]) -> list[Found]:
    """What is found in texts, in order of place, without the exceptions."""
    found = [each for text in texts for each in found_in(text)]
    wanted = [each for each in found if (each.path.relative_to(ROOT).as_posix(), each.in_line) not in EXCEPTIONS]
    return sorted(wanted, key=lambda each: (each.path, each.line, each.word))


# What people read


def whole(*patterns: str) -> Callable[[], list[Text]]:
    """Files as they are, but the glossary, which lists the words."""
    return lambda: [
        Text(path, 1, path.read_text(encoding="utf-8"))
        for each in patterns
        for path in sorted(ROOT.glob(each))
        if path.is_file() and path != GLOSSARY
    ]


def strings_of(path: Path) -> list[Text]:
    """Every string of a module that is data, and the help of its commands; no other docstring."""
    nodes = list(ast.walk(ast.parse(path.read_text(encoding="utf-8"))))
    helps = {node.body[0] for node in nodes if isinstance(node, ast.FunctionDef) and is_command(node)}
    silent = {node.value for node in nodes if isinstance(node, ast.Expr) and node not in helps}
    return [
        Text(path, node.lineno, node.value)
        for node in nodes
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and node not in silent
    ]


def is_command(function: ast.FunctionDef) -> bool:
    """Whether click makes a command of it: then its docstring is its help."""
    return any(_name_of(each) in COMMAND_DECORATORS for each in function.decorator_list)


def _name_of(decorator: ast.expr) -> str:
    function = decorator.func if isinstance(decorator, ast.Call) else decorator
    return function.attr if isinstance(function, ast.Attribute) else getattr(function, "id", "")


def strings() -> list[Text]:
    """Of all modules of the lab."""
    return [text for path in sorted((ROOT / "lab").rglob("*.py")) for text in strings_of(path)]


READ = {
    "pages at the top": whole("README.md", "CONTRIBUTING.md", "SECURITY.md", "AGENTS.md"),
    "docs": whole("docs/*.md", "docs/measured/*.md", "docs/ci/*", "docs/examples/*/*"),
    "docs/decisions": whole("docs/decisions/*.md"),
    "docs, other folders": lambda: [
        text
        for text in whole("docs/**/*.md")()
        if text.path.relative_to(ROOT).parts[1] not in ("decisions", "measured") and text.path.parent.name != "docs"
    ],
    "docs/schemas": whole("docs/schemas/*.json"),
    "stages, lessons": whole("stages/*/README.md"),
    "stages, files": whole("stages/*/compose*.yaml"),
    "lab/experiments": whole("lab/experiments/*.yaml"),
    "lab/assumptions.yaml": whole("lab/assumptions.yaml"),
    "lab, strings and help": strings,
    "lab/report/templates": whole("lab/report/templates/*"),
}


@pytest.mark.parametrize("where", READ)
def test_words_are_those_of_the_glossary(where: str) -> None:
    texts = READ[where]()
    assert texts, "nothing is read: did a folder move?"
    if found := not_excepted(texts):
        pytest.fail(f"{len(found)} words that docs/glossary.md does not want:\n" + "\n".join(map(str, found)), pytrace=False)


def test_the_glossary_itself_keeps_to_its_words() -> None:
    instead = re.sub(r"^\| .*? \|", "| |", LISTED, flags=re.M)
    assert not_excepted([Text(GLOSSARY, 1, EXPLAINED), Text(GLOSSARY, EXPLAINED.count("\n") + 1, instead)]) == []


def needless(exceptions: Mapping[tuple[str, str], str]) -> list[tuple[str, str]]:
    """The exceptions whose line has no such word, or that give no reason."""
    files = {name for name, _ in exceptions}
    texts = [text for read in READ.values() for text in read() if text.path.relative_to(ROOT).as_posix() in files]
    lines = {(each.path.relative_to(ROOT).as_posix(), each.in_line) for text in texts for each in found_in(text)}
    return [where for where, reason in exceptions.items() if where not in lines or not reason]


def test_every_exception_is_needed_and_has_a_reason() -> None:
    assert needless({**EXCEPTIONS, ("README.md", "# The Redundancy Lab"): "has no such word"}) == [
        ("README.md", "# The Redundancy Lab")
    ]


# The glossary is whole


def test_every_term_stands_in_the_glossary_once() -> None:
    assert len(terms(EXPLAINED)) > 100
    assert [term for term, times in Counter(map(str.lower, terms(EXPLAINED))).items() if times > 1] == []


def test_every_term_has_a_line_of_meaning_and_every_word_something_to_say_instead() -> None:
    assert [first for first, meaning in (*rows(EXPLAINED), *rows(LISTED)) if not meaning] == []
    assert len(WORDS) > 50
    assert sum(len(re.findall(r"`(.+?)`", first)) for first, _ in rows(LISTED)) == len(WORDS), "a word is listed twice"


# The finder finds


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("Nobody knows.", [(1, "nobody")]),
        ("one\nhas nothing in\n  reserve", [(2, "in reserve")]),
        ("# it was gone\n# for 3 s", [(1, "gone for")]),
        ("bite_s no-bite bitten.", [(1, "bite"), (1, "bite"), (1, "bitten")]),
        ("repair_after_s: 2", [(1, "after_s")]),
        ("lab run 3 kill-web --observe 3s", [(1, "--observe")]),
        ("for name in reserve_titles", []),
        ("still, I'll refill it as well; the order of time, in order", []),
        ("The till is drilled, a mendicant's blowtorch", []),
    ],
)
def test_a_phrase_is_found_as_whole_words(text: str, wanted: list[tuple[int, str]]) -> None:
    assert sorted((each.line, each.word) for each in found_in(Text(ROOT / "README.md", 1, text))) == sorted(wanted)


def test_strings_and_help_are_read_and_docstrings_are_not(tmp_path: Path) -> None:
    (tmp_path / "module.py").write_text(
        '"""Module."""\n'
        "A = 'data'\n"
        '"""About A."""\n'
        "@cli.command('x')\n"
        "def command():\n"
        '    """Help."""\n'
        "def function(a):\n"
        '    """Function."""\n'
        "    return f'said {a} twice'\n",
        encoding="utf-8",
    )
    read = {(text.line, text.text) for text in strings_of(tmp_path / "module.py")}
    assert read == {(2, "data"), (4, "x"), (6, "Help."), (9, "said "), (9, " twice")}
