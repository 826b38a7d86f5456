"""Tables of the docs that a benchmark writes from the results in the repository: they are of these results."""

import pytest

from benchmarks import cluster, large


@pytest.mark.parametrize("benchmark", [cluster, large], ids=["cluster", "large"])
def test_the_committed_page_shows_the_committed_numbers(benchmark, tmp_path):
    page = benchmark.ROOT / "docs" / "speed.md"
    copy = tmp_path / "speed.md"
    before, rest = page.read_text(encoding="utf-8").split(benchmark.BEGIN)
    after = rest.split(benchmark.END)[1]
    copy.write_text(before + benchmark.BEGIN + "old\n" + benchmark.END + after, encoding="utf-8")
    assert benchmark.main(["--page", str(copy)]) == 0
    assert copy.read_text(encoding="utf-8") == page.read_text(encoding="utf-8"), (
        f"run `python -m {benchmark.__name__} --page docs/speed.md`"
    )
