"""Write tests/data/codec_pickles.json.gz: the values of codec_types as many Pythons pickle them.

    python tests/data/make_codec_pickles.py PYTHON...

Each PYTHON is an interpreter, with or without numpy; each writes every value in protocols
2 to 5, if that takes less than 10,000 bytes.  What several wrote alike is kept once.
"""

from __future__ import annotations

import gzip
import json
import subprocess
import sys
from pathlib import Path

HERE = Path(__file__).parent

WRITER = """
import base64, json, pickle, platform, sys
sys.path.insert(0, sys.argv[1])
import codec_types
values = {**codec_types.plain_values(), **codec_types.class_values()}
try:
    import numpy
    values = codec_types.numpy_values()
    source = "numpy " + numpy.__version__
except ImportError:
    source = "Python " + platform.python_version()
for name, value in values.items():
    for protocol in (2, 3, 4, 5):
        data = pickle.dumps(value, protocol)
        if len(data) < 10_000:
            print(json.dumps([source, name, base64.b64encode(data).decode()]))
"""


def main() -> None:
    """Run every interpreter and put together what they wrote."""
    kept: dict[tuple[str, str], str] = {}
    for python in sys.argv[1:]:
        command = [python, "-c", WRITER, str(HERE.parent)]
        output = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout
        for line in output.splitlines():
            source, name, data = json.loads(line)
            kept.setdefault((name, data), source)
    rows = [[source, name, data] for (name, data), source in kept.items()]
    packed = gzip.compress(json.dumps(rows, indent=0).encode(), mtime=0)
    (HERE / "codec_pickles.json.gz").write_bytes(packed)
    print(f"{len(rows)} pickles, {len(packed)} bytes")


if __name__ == "__main__":
    main()
