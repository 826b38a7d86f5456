"""The table that `make cluster` measures; the cluster itself needs Ray and minutes."""

from benchmarks import cluster


def test_the_table_counts_rows_a_second_and_the_hours_of_the_papers_rows():
    found = {
        "machine": {"cpu": "Some CPU", "cores": 2},
        "rows": {"build": 3000, "score": 2000},
        "seconds": {"build": {"one process, no Ray": 20.0}, "score": {"Ray, one worker": 40.0}},
    }
    table = cluster.table(found)
    assert "Some CPU, 2 cores. 3,000 rows of pairs and 2,000 pictures" in table
    assert "| build | one process, no Ray | 20.0 | 150 | 8 |" in table  # 4.58 M / 150 / 3600 s
    assert "| score | Ray, one worker | 40.0 | 50 | 25 |" in table
