"""What the command line says about itself: help, examples, completion, the page in docs/."""

import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from modeling_vital.cli.main import COMMANDS, build_parser, main
from modeling_vital.cli.reference import render, subcommands


ROOT = Path(__file__).parents[2]
SHARED = {"--model", "--device", "--format", "--output", "--batch-size"}


def leaves(parser, path=()):
    """Every subcommand that does something, with its words."""
    inner = subcommands(parser)
    for name, command in inner.items():
        yield from leaves(command, (*path, name))
    if not inner:
        yield path, parser


LEAVES = {" ".join(path): parser for path, parser in leaves(build_parser())}


def options(parser):
    return {name for action in parser._actions for name in action.option_strings if name.startswith("--")} - {"--help"}


@pytest.mark.parametrize("name", LEAVES)
def test_every_option_is_in_an_example_and_every_example_can_be_parsed(name):
    shown = set()
    for what, command in LEAVES[name].examples:
        words = shlex.split(command)
        if "|" in words:
            words = words[words.index("|") + 1 :]
        words = words[words.index("vital") + 1 :] if "vital" in words else shlex.split(words[-1].strip("$()"))[1:]
        words = words[: words.index(">")] if ">" in words else words
        args = build_parser().parse_args(words)
        assert callable(args.run)
        assert " ".join(words).startswith(name)
        assert what
        shown |= {word.partition("=")[0] for word in words if word.startswith("--")}
    assert options(LEAVES[name]) - shown == set()


@pytest.mark.parametrize("name", LEAVES)
def test_help_shows_the_examples_and_the_exit_codes(name, capsys):
    assert main([*name.split(), "--help"]) == 0
    out = capsys.readouterr().out
    assert "Exit code: 0" in out
    assert LEAVES[name].examples[0][1] in out
    assert all(action.help for action in LEAVES[name]._actions)


@pytest.mark.parametrize("name", COMMANDS)
def test_a_command_builds_its_own_parser_alone_and_it_is_the_same(name):
    alone, all_of_them = subcommands(build_parser(name)), subcommands(build_parser())
    assert list(alone) == [name] and list(all_of_them) == list(COMMANDS)
    assert alone[name].format_help() == all_of_them[name].format_help()


def test_an_unknown_command_is_refused_with_the_names_of_all(capsys):
    assert main(["scores", "photo.jpg"]) == 2
    said = capsys.readouterr().err
    assert "scores" in said and all(name in said for name in COMMANDS)


def test_words_that_are_shared_mean_the_same_everywhere():
    defaults = {}
    for name, parser in LEAVES.items():
        for action in parser._actions:
            for option in SHARED & set(action.option_strings):
                if (name, option) != ("score", "--format") and (name, option) != ("evaluate", "--model"):
                    defaults.setdefault(option, set()).add(action.default)
    assert defaults == {
        "--model": {"vital-tiny"},
        "--device": {"auto"},
        "--format": {"table"},
        "--output": {None},
        "--batch-size": {"auto"},
    }


def test_committed_pages_are_current():
    pages = {"": ROOT / "docs" / "command-line.md"}
    pages |= {path.stem: path for path in (ROOT / "docs" / "command-line").iterdir()}
    committed = {name: path.read_text(encoding="utf-8") for name, path in pages.items()}
    assert committed == render(), "run `make reference`, and take away the page of a command that is gone"


def test_every_command_has_a_page_with_its_options_in_the_overview_and_the_site():
    pages, site = render(), (ROOT / "mkdocs.yml").read_text(encoding="utf-8")
    assert {"", *subcommands(build_parser())} == set(pages)
    for name in filter(None, pages):
        assert f"](command-line/{name}.md)" in pages[""] and f" command-line/{name}.md\n" in site
        assert pages[name].startswith(f"# vital {name}\n")
    for name, parser in LEAVES.items():
        command, _, inner = name.partition(" ")
        part = pages[command].split(f"# vital {name}\n")[1].split("\n## ")[0]
        assert not inner or f"## vital {name}\n" in pages[command]
        assert all(any(f"{option}{end}" in part for end in " `,") for option in options(parser))


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_completion_script(shell, capsys, tmp_path):
    pytest.importorskip("shtab")
    assert main(["completion", shell]) == 0
    out = capsys.readouterr().out
    assert "compare" in out
    assert "batch-size" in out
    if shutil.which(shell):
        (tmp_path / "script").write_text(out)
        subprocess.run([shell, "-n", str(tmp_path / "script")], check=True, timeout=60)


def test_bash_completes_a_subcommand_and_an_option(tmp_path):
    pytest.importorskip("shtab")
    if not shutil.which("bash"):
        pytest.skip("there is no bash")
    script = subprocess.run(
        [sys.executable, "-m", "modeling_vital.cli.main", "completion", "bash"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
        timeout=120,
    ).stdout
    ask = 'COMP_WORDS=({0}); COMP_CWORD={1}; COMP_LINE="{0}"; "$(complete -p vital | grep -o "_shtab[a-z_]*")" vital; '
    ask += 'echo "${{COMPREPLY[@]}}"'
    (tmp_path / "photo.jpg").touch()
    (tmp_path / "folder").mkdir()
    for words, place, expected in [
        ("vital comp", 1, "compare"),
        ("vital score --batch", 2, "--batch-size"),
        ("vital score --engine r", 3, "ray"),
        ("vital score ph", 2, "photo.jpg"),
        ("vital score a --copy-to f", 4, "folder"),
    ]:
        command = ["bash", "-c", f"{script}\n{ask.format(words, place)}"]
        done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=60)
        assert expected in done.stdout.split(), done.stderr


def test_without_shtab_it_says_what_to_install(monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, "shtab", None)
    assert main(["completion", "bash"]) == 2
    assert "modeling-vital[cli]" in capsys.readouterr().err


@pytest.mark.parametrize("words", [["--help"], ["score", "--help"]])
def test_help_needs_nothing_heavy(words):
    code = f"import sys; from modeling_vital.cli.main import main; code = main({words}); "
    if words[1:]:  # the other commands are not even imported
        code += "assert 'modeling_vital.cli.audit' not in sys.modules; "
    code += "heavy = {'torch', 'transformers', 'numpy', 'PIL', 'pyarrow', 'datasets', 'ray', 'pandas'}; "
    code += "assert not heavy & set(sys.modules), heavy & set(sys.modules); sys.exit(code)"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
