"""What `import tfinit` adds to `import keras`, and how fast `tfinit --help` answers.

Each figure is the median of fresh processes: python benchmarks/import_time.py
"""

import json
import statistics
import subprocess
import sys
import time

REPEAT = 7
IMPORTS = """
import json, sys, time
start = time.perf_counter(); import keras; middle = time.perf_counter()
before = set(sys.modules)
import tfinit
end = time.perf_counter()
print(json.dumps([middle - start, end - middle, sorted(set(sys.modules) - before)]))
"""


def main():
    runs = [
        json.loads(
            subprocess.run(
                [sys.executable, "-c", IMPORTS], capture_output=True, text=True, check=True
            ).stdout
        )
        for _ in range(REPEAT)
    ]
    keras, ours = (statistics.median(run[i] for run in runs) for i in (0, 1))
    helps = []
    for _ in range(REPEAT):
        start = time.perf_counter()
        command = [sys.executable, "-c", "from tfinit.cli import main; main()", "--help"]
        subprocess.run(command, capture_output=True, check=True)
        helps.append(time.perf_counter() - start)
    print(f"import keras            {keras:.2f} s")
    print(f"import tfinit after it  {ours:.3f} s more ({ours / keras:.1%})")
    print(f"tfinit --help           {statistics.median(helps):.2f} s")
    packages = sorted({name.split(".")[0] for name in runs[0][2]})
    print(f"packages that tfinit adds to sys.modules: {', '.join(packages)}")


if __name__ == "__main__":
    main()
