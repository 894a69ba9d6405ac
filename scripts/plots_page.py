"""Write a page for `dvc plots show` that draws its charts offline: `make setup` calls it.

DVC's own page loads Vega from the web. This one embeds it, in the version of Vega-Lite that the
templates in .dvc/plots/ use. It is not in git, so .dvc/config.local names it.
"""

import subprocess
import sys
from pathlib import Path

import vl_convert

PAGE = Path(".dvc/plots/page.html")

# {plot_divs} and {refresh_tag} are DVC's; {scripts}, the addresses of Vega, is left out.
TEMPLATE = """<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
{refresh_tag}
<title>actlab: dvc plots</title>
<style>
body { font-family: sans-serif; margin: 1rem; display: flex; flex-wrap: wrap; gap: 1rem; }
table { border-spacing: 1rem; }
img { max-width: 40rem; height: auto; }
</style>
<script>
VEGA
</script>
</head>
<body>
{plot_divs}
</body>
</html>
"""

if __name__ == "__main__":
    # DVC replaces the names in braces wherever they stand.
    script = vl_convert.javascript_bundle(
        "window.vegaEmbed = vegaEmbed; window.vegaLite = vegaLite; window.vega = vega;", "5.21"
    ).replace("</script", "<\\/script")
    taken = [name for name in ("{refresh_tag}", "{plot_divs}", "{scripts}") if name in script]
    if taken:
        sys.exit(f"actlab: Vega holds {taken[0]}, which DVC would replace")
    PAGE.write_text(TEMPLATE.replace("VEGA", script), encoding="utf-8")
    command = [sys.executable, "-m", "dvc", "config", "--local", "plots.html_template"]
    subprocess.run([*command, "plots/page.html"], check=True)
