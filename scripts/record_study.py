"""Write docs/study/study.json: what the study there was made from. `make study` calls it."""

import json
from pathlib import Path

from actlab.reporting.provenance import describe_study

if __name__ == "__main__":
    text = json.dumps(describe_study(Path.cwd()), indent=2)
    Path("docs/study/study.json").write_text(text + "\n", encoding="utf-8")
