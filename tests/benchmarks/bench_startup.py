"""From process start to ready, with one model in its three variants, and with all that are shipped.

python -m tests.benchmarks.bench_startup
"""

import shutil
import statistics
import tempfile
import time

from tests.service_process import MODELS, start_server, stop_server

STARTS = 7


def main() -> None:
    """Print the median of several warm starts."""
    with tempfile.TemporaryDirectory() as folder:
        for file in MODELS.glob("animals-fcn8s-lite0*.onnx"):
            shutil.copy(file, folder)
        print(f"process start to ready, {STARTS} warm starts:")
        for name, models, bar in (("one model", folder, "(bar: 1.5)"), ("all that are shipped", str(MODELS), "")):
            times = []
            for _ in range(STARTS + 1):
                start = time.perf_counter()
                server = start_server(quiet=True, MODELS_DIR=models)
                times.append(time.perf_counter() - start)
                stop_server(server)
            warm = times[1:]  # the first one fills the disk's cache
            print(f"  {name}: median {statistics.median(warm):.2f} s, slowest {max(warm):.2f} s  {bar}")


if __name__ == "__main__":
    main()
