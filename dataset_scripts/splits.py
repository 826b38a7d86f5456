"""Choice of the originals for testing. Everything that is fitted or trained asks here, and nothing else decides."""

import hashlib


TEST_SHARE = 0.2
"""Share of originals kept for testing."""


def is_test(content_id: str, test_share: float = TEST_SHARE) -> bool:
    """Returns `True` for an original of the test split: by hash, so that it never depends on what else is there."""
    return int(hashlib.sha256(content_id.encode()).hexdigest()[:8], 16) / 2**32 < test_share
