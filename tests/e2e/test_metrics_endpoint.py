"""The Prometheus endpoint of a real worker."""

from __future__ import annotations

import shutil
import subprocess

from e2e.definitions import level, recent
from e2e.system import Install, Pair, Sent, event
from servers import missing

from memberstream.stream.process.metrics import METRICS


async def test_metrics_tell_what_happened(embedded_pair: Pair, install: Install) -> None:
    """Counts by outcome and reason are exact, lag is zero once all is applied, every published model has its info, and
    every event was timed; promtool has nothing to say."""
    system = await install(embedded_pair, [level(), recent()])
    await system.send(
        [
            *(Sent(b"m%d" % i, event("replace", version=1, document={"x": i % 2})) for i in range(50)),
            *(Sent(b"m%d" % i, event("replace", version=1, document={"x": 1})) for i in range(7)),
            *(Sent(b"m%d" % i, b"{") for i in range(5)),
            *(Sent(b"n%d" % i, event("patch", patch={})) for i in range(3)),
        ]
    )
    system.start()
    await system.applied()
    await system.until(lambda: set(system.metrics("memberstream_lag_records").values()) == {0}, "no lag")
    assert system.metrics("memberstream_lag_records").keys() == {("0",), ("1",)}
    assert system.metrics("memberstream_events_total") == {
        ("applied",): 50,
        ("ignored_version",): 7,
        ("replayed",): 0,
        ("dead_letter",): 8,
    }
    dead = {reason: n for (reason,), n in system.metrics("memberstream_dead_letters_total").items() if n}
    assert dead == {"not_json": 5, "unknown_member": 3}
    assert system.metrics("memberstream_membership_changes_total") == {("level@1",): 50, ("recent@1",): 50}
    assert system.metrics("memberstream_model_info") == {
        ("level", "live", "logistic", "1"): 1,
        ("recent", "live", "logistic", "1"): 1,
    }
    assert system.metrics("memberstream_freshness_seconds_count") == {(): 50}
    assert sum(system.metrics("memberstream_batch_records_sum").values()) == 65
    assert sum(system.metrics("memberstream_state_members").values()) >= 50
    assert system.metrics("memberstream_redis_available") == {(): 1}
    assert system.metrics("memberstream_recovering") == {(): 0}
    assert system.metrics("memberstream_rebalances_total")[()] >= 1
    assert system.metrics("memberstream_redis_refused_writes_total") == {(): 0}
    text = system.scrape()
    declared = {line.split()[2] for line in text.splitlines() if line.startswith("# TYPE memberstream_")}
    assert declared == {name for name, *_ in METRICS}
    assert promtool_says(text) == (0, "", "")


def promtool_says(text: str) -> tuple[int, str, str]:
    """Return exit status, standard output and standard error of `promtool check metrics`."""
    promtool = shutil.which("promtool") or missing("promtool is missing. Install it (Debian: prometheus)")
    checked = subprocess.run([promtool, "check", "metrics"], input=text, capture_output=True, text=True, check=False)
    return checked.returncode, checked.stdout, checked.stderr
