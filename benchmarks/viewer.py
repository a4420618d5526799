"""How long does the token-credit viewer take? Seconds to write a page, milliseconds of the page in headless Chromium.

    python benchmarks/viewer.py [--responses 2000] [--tokens 40]

Needs Chromium and the development packages. Writes benchmarks/results/viewer.json.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))

from browser import opened
from credit.credit_log import write_token_credit
from credit.viewer import inspect
from viewer_rows import rollout

OUT = Path(__file__).parent / "results" / "viewer.json"
SCRIPT = """async () => {
  const frame = () => new Promise(requestAnimationFrame);
  const busy = () => document.querySelector('#main[aria-busy]');
  const took = async (act) => { const start = performance.now(); act(); do await frame(); while (busy());
    return performance.now() - start; };
  const sort = document.getElementById('sort');
  const key = (key) => document.dispatchEvent(new KeyboardEvent('keydown', { key }));
  const t = performance.timing;
  return { open: t.domContentLoadedEventEnd - t.navigationStart, next_response: await took(() => key('j')),
    quantity: await took(() => key('4')), scroll: await took(() => document.getElementById('list').scrollTo(0, 50000)),
    sort: await took(() => { sort.value = 'pMI, low first'; sort.dispatchEvent(new Event('change')); }) };
}"""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--responses", type=int, default=2000)
    parser.add_argument("--tokens", type=int, default=40)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "step_000000.parquet"
        write_token_credit(path, [rollout(seed, size=options.tokens) for seed in range(options.responses)])
        start = time.perf_counter()
        page = inspect(path, limit=options.responses)[0]
        result = {**vars(options), "write_s": round(time.perf_counter() - start, 2)}
        result["page_mib"] = round(page.stat().st_size / 2**20, 2)
        with opened(page) as tab:
            result["milliseconds"] = {name: round(value, 1) for name, value in tab.evaluate(SCRIPT).items()}
    OUT.write_text(json.dumps(result, indent=2) + "\n", encoding="utf-8")
    print(json.dumps(result, indent=2))


if __name__ == "__main__":
    main()
