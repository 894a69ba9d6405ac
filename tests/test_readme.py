"""The README's answer is that of the committed study."""

import json
import re


def test_the_readmes_table_holds_the_numbers_of_the_study(root):
    metrics = json.loads((root / "reports/metrics.json").read_text())
    readme = (root / "README.md").read_text()
    rows = re.findall(r"^\| [^|]*\| (\w+) \| (.+?) \| (\S+) \|$", readme, flags=re.MULTILINE)
    expected = []
    for network in ("mlp", "deep"):
        for activation, values in metrics[network].items():
            mean, low, high = (
                f"{100 * values[key]:.2f}"
                for key in ("test_accuracy", "test_accuracy_ci_low", "test_accuracy_ci_high")
            )
            coefficient, exponent = f"{values['gradient_first_layer_initial']:.1e}".split("e")
            gradient = f"{coefficient}e{int(exponent)}"
            expected.append((activation, f"{mean} % ({low} to {high})", gradient))
    assert rows == expected
