from __future__ import annotations

from pathlib import Path

import pytest

from lab.errors import UsageError
from lab.spec import located_yaml


def load(tmp_path: Path, text: str) -> located_yaml.Mapping:
    file = tmp_path / "some.yaml"
    file.write_text(text, encoding="utf-8")
    return located_yaml.load(file)


def test_entries_and_where_they_stand(tmp_path: Path) -> None:
    document = load(tmp_path, "# a comment\none: 1\ntwo:\n  three: [a, b]\n  four: {five: 5.5}\n")
    assert document == {"one": 1, "two": {"three": ["a", "b"], "four": {"five": 5.5}}}
    assert document.lines == {"one": 2, "two": 3}
    assert document["two"].lines == {"three": 4, "four": 5}
    assert document["two"]["four"].error("five", "too much").message == f"{tmp_path / 'some.yaml'}:5: too much"


def test_error_about_what_is_missing_names_the_mapping(tmp_path: Path) -> None:
    document = load(tmp_path, "one: 1\ntwo:\n  three: 3\n")
    error = document["two"].error("four", "it is missing", "add it")
    assert error.message.endswith(":3: it is missing")
    assert error.hint == "add it"


def test_merged_entries_give_way_to_own_ones(tmp_path: Path) -> None:
    document = load(tmp_path, "base: &base {a: 1, b: 2}\nnext:\n  <<: *base\n  b: 3\n")
    assert document["next"] == {"a": 1, "b": 3}
    assert document["base"] == {"a": 1, "b": 2}


def test_keys_are_text(tmp_path: Path) -> None:
    assert load(tmp_path, "8080: a\n") == {"8080": "a"}


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("a: 1\nb: [1, 2\nc: 3\n", ":3: this is not YAML"),
        ("a: 1\n\tb: 2\n", ":2: this is not YAML"),
        ("a: 1\nb: 2\na: 3\n", ":3: 'a' stands here twice"),
        ("a:\n  b: 1\n  b: 2\n", ":3: 'b' stands here twice"),
        ("a: *nowhere\n", ":1: this is not YAML"),
        ("a: !!python/object:os.system {}\n", ":1: this is not YAML"),
        ("a: 1\n---\nb: 2\n", ":2: this is not YAML"),
        ("- a\n- b\n", ":1: a mapping of keys and values is needed"),
        ("", ":1: a mapping of keys and values is needed"),
    ],
)
def test_what_is_malformed_is_named_with_its_line(tmp_path: Path, text: str, said: str) -> None:
    with pytest.raises(UsageError) as caught:
        load(tmp_path, text)
    assert caught.value.message.startswith(str(tmp_path / "some.yaml"))
    assert said in caught.value.message


@pytest.mark.parametrize("text", ["? [a, b]\n: 1\n", "{a: 1}: 2\n", "a: 2024-13-45\n", "a: !!int b\n", "a: \x01\n"])
def test_what_is_oddly_malformed_is_named_too(tmp_path: Path, text: str) -> None:
    with pytest.raises(UsageError):
        load(tmp_path, text)


def test_file_that_is_missing(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"nosuch\.yaml cannot be read: No such file"):
        located_yaml.load(tmp_path / "nosuch.yaml")


def test_file_that_is_a_folder(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="cannot be read: Is a directory"):
        located_yaml.load(tmp_path)


def test_file_that_is_no_text(tmp_path: Path) -> None:
    (tmp_path / "some.yaml").write_bytes(b"a: \xff\xfe")
    with pytest.raises(UsageError, match="it is not UTF-8 text"):
        located_yaml.load(tmp_path / "some.yaml")


def test_many_entries_are_no_merge_keys(tmp_path: Path) -> None:
    file = tmp_path / "many.yaml"
    file.write_text("x: [" + "{a: 1}," * 25_000 + "]\n")
    assert len(located_yaml.load(file)["x"]) == 25_000


def test_merge_keys_do_not_multiply_without_end(tmp_path: Path) -> None:
    file = tmp_path / "merged.yaml"
    file.write_text("x: &x {a: 1, b: 2, c: 3}\nmany:\n" + "- {<<: [" + ", ".join(["*x"] * 8000) + "]}\n")
    with pytest.raises(UsageError, match="its merge keys"):
        located_yaml.load(file)


@pytest.mark.parametrize(
    ("text", "value"),
    [("010", "010"), ("1:30", "1:30"), ("0x1F", "0x1F"), ("1:30.5", "1:30.5"), ("3_0", 30), ("-7", -7), ("0", 0), ("1.5", 1.5)],
)
def test_a_number_is_one_that_everybody_reads_alike(tmp_path: Path, text: str, value: object) -> None:
    file = tmp_path / "number.yaml"
    file.write_text(f"a: {text}\n")
    assert located_yaml.load(file)["a"] == value
