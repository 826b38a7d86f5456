"""YAML of settings: a key that is given twice is an error that names it and the lines."""

import pytest
import yaml

from modeling_vital.yaml_file import parse_yaml, read_yaml


@pytest.mark.parametrize(
    ("text", "key", "lines"),
    [
        ("seed: 1\nsteps: 2\nseed: 1\n", "'seed'", (1, 3)),
        ("a:\n  deep:\n  - {x: 1, y: 2}\n  - x: 1\n    y: 2\n    x: 3\n", "'x'", (4, 6)),
        ("1: a\n1: b\n", "'1'", (1, 2)),
        ('? a\n: 1\n"a": 2\n', "'a'", (1, 3)),
    ],
)
def test_a_key_twice_is_named_with_its_lines(text, key, lines, tmp_path):
    path = tmp_path / "a recipe.yaml"
    path.write_text(text)
    with pytest.raises(yaml.YAMLError) as found:
        read_yaml(path)
    assert f"the key {key} is given twice, in line {lines[0]} and here" in str(found.value)
    assert f'in "{path}", line {lines[1]}' in str(found.value)


def test_what_repeats_elsewhere_or_is_merged_is_as_ever():
    text = "d:\n  e: &b\n    <<: {x: 1, y: 1}\n    x: 2\nc: {<<: *b, x: 3}\nl: [{x: 1}, {x: 2}]\n'1': a\n1: b\n"
    assert parse_yaml(text) == yaml.safe_load(text)
    assert parse_yaml("") is None
