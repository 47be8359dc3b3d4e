"""Stand-in for the package `tools` while a script runs.

`python tools/x.py` puts this folder on the path instead of the repository's root, so that `import tools` finds this
file. It adds the root and passes for the package.
"""

import sys
from pathlib import Path

__path__ = [str(Path(__file__).resolve().parent)]
sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
