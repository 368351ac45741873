"""The reader of YAML and of numbers, against Python, JSON, and the readers of others."""

from __future__ import annotations

import itertools
import json
import math
import re
from contextlib import suppress
from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from programs.errors import InputError

from search.settings.yaml_text import DEEPEST, MOST_VALUES, Unclear, number_of, read_yaml, write_yaml

EXPONENTS = st.one_of(st.just(""), st.from_regex(r"[eE][-+]?[0-9]{1,3}", fullmatch=True))
DECIMALS = st.from_regex(r"[-+]?([0-9]{1,8}\.?[0-9]{0,8}|\.[0-9]{1,8})", fullmatch=True)
WORDS = st.text("0123456789+-._:eExXobOaAnNfFiItTyYsS", min_size=1, max_size=8)
# PyYAML folds a NEL that it has written itself, and its kin; no setting may hold one.
TEXTS = st.text(st.characters(exclude_categories=("Cs", "Cc", "Zl", "Zp"))) | WORDS
PLAIN_DATA = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | TEXTS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXTS | st.just("<<"), inner, max_size=3),
    max_leaves=8,
)


def value_of(text: str) -> Any:
    """What a text is as the value of a key."""
    return read_yaml(f"k: {text}", "search.yaml").data["k"]


def refusal(text: str) -> str:
    with pytest.raises(InputError) as refused:
        read_yaml(text, "search.yaml")
    message = str(refused.value)
    assert "\n" not in message and len(message) < 300
    return message


def same(one: Any, other: Any) -> bool:
    return type(one) is type(other) and (one == other or (one != one and other != other))


# --- numbers ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("1e-1", 0.1), ("1E5", 1e5), ("1.e3", 1e3), (".5", 0.5), ("-.5e-3", -0.5e-3), ("+1e3", 1e3), ("1e+2", 1e2),
        ("0.1", 0.1), ("01.5", 1.5), ("1.", 1.0), ("-0.0", -0.0), ("1e400", math.inf), (".inf", math.inf),
        ("-.INF", -math.inf), (".NaN", math.nan),
        ("0", 0), ("-0", 0), ("+7", 7), ("12345678901234567890", 12345678901234567890), ("0x1f", 31), ("0o17", 15),
        ("-0b11", -3), ("1_000", 1000), ("12_345_678", 12345678), ("1_000.5", 1000.5), ("1_000e3", 1e6),
    ],
)  # fmt: skip
def test_numbers_are_read_in_every_form(text: str, value: float) -> None:
    assert same(value_of(text), value) and same(number_of(text), value)


@given(DECIMALS, EXPONENTS)
def test_decimal_numbers_are_those_of_python(decimal: str, exponent: str) -> None:
    text = decimal + exponent
    if re.fullmatch(r"[-+]?\d+", text):
        expected: Any = int(text) if re.fullmatch(r"[-+]?(0|[1-9]\d*)", text) else Unclear(text)
    else:
        expected = float(text)
    assert same(value_of(text), expected)


@given(st.integers() | st.floats(allow_nan=False, allow_infinity=False))
def test_numbers_of_json_are_read_as_json_reads_them(value: float) -> None:
    text = json.dumps(value)
    assert same(value_of(text), json.loads(text)) and same(number_of(text), value)


@given(WORDS)
def test_no_word_means_one_thing_here_and_silently_another_elsewhere(word: str) -> None:
    """What Python or YAML 1.1 takes for a number or a truth value is the same here, or known to be unclear."""
    with suppress(yaml.YAMLError, InputError):
        ours = value_of(word)
        elsewhere = [yaml.safe_load(f"k: {word}")["k"]] if type(ours) is not bool else []
        for read in (float, lambda text: int(text, 0)):
            with suppress(ValueError):
                elsewhere.append(read(word))
        others = [other for other in elsewhere if isinstance(other, bool | int | float)]
        assert type(ours) is Unclear or all(other == ours or other != other for other in others), (ours, others)
        assert type(ours) is not str or not others, others


@given(WORDS)
def test_numbers_of_options_are_those_of_files(word: str) -> None:
    with suppress(InputError):
        value = value_of(word)
        is_number = isinstance(value, int | float) and not isinstance(value, bool)
        assert same(number_of(word), value if is_number else None)


def test_a_number_of_thousands_of_digits_is_refused() -> None:
    for number in ("1" * 5000, "0x" + "f" * 5000, "0." + "1" * 5000):
        assert refusal(f"a: 1\nb: {number}") == f"search.yaml:2: a number of {len(number)} characters; 100 are read"
        assert number_of(number) is None


# --- what is no number -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("true", True), ("False", False), ("~", None), ("null", None), ("", None),
        ("y", "y"), ("2026-11-28", "2026-11-28"), ("2026-11-28 10:00:00", "2026-11-28 10:00:00"), ("1.2.3", "1.2.3"),
        ("'010'", "010"), ('"no"', "no"), ("!!str 1", "1"), ("=", "="), ("1e", "1e"), ("0x", "0x"), ("_1", "_1"),
        ("!!float 1e3", 1e3),
    ],
)  # fmt: skip
def test_everything_else_is_as_in_yaml_1_2(text: str, value: Any) -> None:
    assert same(value_of(text), value)


@pytest.mark.parametrize(
    "word", ["yes", "No", "ON", "off", "010", "-007", "1:30", "1:30:15.5", "1__0", "2024_01", "0x_1", "inf", "-NaN"]
)
def test_words_that_readers_take_for_different_things_are_texts_that_know_it(word: str) -> None:
    assert value_of(word) == word and type(value_of(word)) is Unclear
    assert type(value_of(f"'{word}'")) is str
    assert list(read_yaml(f"{word}: 1", "search.yaml").data) == [word]


@given(PLAIN_DATA)
def test_what_is_written_is_read_as_the_same(data: Any) -> None:
    written = write_yaml({"k": data})
    read = read_yaml(written, "search.yaml").data["k"]
    assert read == data and repr(read) == repr(data)


@pytest.mark.parametrize(
    "text", ["1e-1", "1E5", ".5", "0o17", "1_000", "010", "no", "off", "1:30", "true", "~", "", "<<"]
)
def test_texts_that_look_like_values_are_written_as_texts(text: str) -> None:
    assert read_yaml(write_yaml({text: [text]}), "search.yaml").data == {text: [text]}


# --- what is refused -------------------------------------------------------------------------------------------------

LAUGHS = "a: &a [x]\n" + "".join(f"{b}: &{b} [{','.join([f'*{a}'] * 9)}]\n" for a, b in itertools.pairwise("abcdefghi"))


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("a: &a [*a]", "search.yaml:1: nested more than 20 levels deep, or an alias within what it names"),
        ("b: 1\na: &a\n  b: *a", "search.yaml:2: nested more than"),
        ("[" * 3000, "nested more than"),
        ("{a: " * 3000, "nested more than"),
        ("- " * 3000, "nested more than"),
        ("a: " + "[" * (DEEPEST + 1) + "]" * (DEEPEST + 1), "search.yaml:1: nested more than"),
        (LAUGHS, f"search.yaml:1: holds more than {MOST_VALUES} values, those that aliases repeat included"),
        ("a: 1\n3: x", "search.yaml:2: 3: the name of a setting must be a text; put it in quotes"),
        ("a:\n  null: x", "search.yaml:2: null: the name of a setting must be a text"),
        ("a: {true: x}", "true: the name of a setting must be a text"),
        ("a: {1e3: x}", "1e3: the name of a setting must be a text"),
        ("? [a]\n: 1", "a list or a mapping: the name of a setting must be a text"),
        ("a: 1\nb: 2\na: 3", "search.yaml:3: a: given twice; remove one"),
        ("a: {b: 1, 'b': 2}", "b: given twice"),
        ("a:\n  <<: 3", "search.yaml:2: <<: expected a mapping, or a list of mappings"),
        ("a: !!python/object/apply:os.system [ls]", "search.yaml:1: not valid YAML: unknown tag"),
        ("a: !!binary aGk=", "unknown tag"),
        ("a: !!set {b, c}", "unknown tag"),
        ("a: !mine 3", "unknown tag '!mine'"),
        ("a: !!int many", "search.yaml:1: not valid YAML: 'many' is no int"),
        ("a: !!bool maybe", "'maybe' is no bool"),
        ("a: 1\nb: *nothing", "search.yaml:2: not valid YAML: found undefined alias"),
        ("a: 1\n---\nb: 2", "search.yaml:2: not valid YAML"),
        ('a: "\\UFFFFFFFF"', "a character that does not exist"),
        ("a: 1\nb: x\0", "search.yaml:2: not valid YAML: unacceptable character #x0000"),
        ("a: 1\n\f\nb: 2", "search.yaml:2: not valid YAML: unacceptable character #x000c"),
    ],
    ids=lambda text: text[:20],
)
def test_texts_that_are_refused_in_one_line(text: str, said: str) -> None:
    assert said in refusal(text)


def test_nesting_up_to_the_limit_is_read() -> None:
    assert str(value_of("[" * (DEEPEST - 1) + "]" * (DEEPEST - 1))).count("[") == DEEPEST - 1


def test_what_an_alias_repeats_is_in_each_place_on_its_own() -> None:
    data = read_yaml("a: &a {b: [1]}\nc: *a\nd: {<<: *a, e: 2}\nf: {<<: [{x: 1}, {x: 2, y: 3}], y: 4}", "s").data
    assert data == {"a": {"b": [1]}, "c": {"b": [1]}, "d": {"b": [1], "e": 2}, "f": {"x": 1, "y": 4}}
    data["a"]["b"].append(2)
    assert data["c"] == {"b": [1]} and data["d"]["b"] == [1]
