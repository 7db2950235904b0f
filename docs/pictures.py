"""Draw the pictures of terminals and of the HTML report: ``python docs/pictures.py [BROWSER]``.

The commands run for real, on the store of ``llmtrace demo``. Nothing is drawn by hand. The pictures of the HTML report
need the path of a Chromium and ``pip install playwright``; without them only the terminals are drawn.
"""

from __future__ import annotations

import io
import os
import re
import subprocess
import sys
import tempfile
from pathlib import Path

from rich.console import Console
from rich.terminal_theme import MONOKAI
from rich.text import Text

IMAGES = Path(__file__).parent / "images"
COLUMNS = 84
COMMANDS = {
    "report": "report --store demo",
    "trace": "trace --slowest --store demo",
    "compare": "compare version=3 version=4 --where feature=search --store demo",
}


def svg(command: str, output: str) -> str:
    """Return a picture of a terminal in which a command has printed ``output``."""
    console = Console(record=True, width=COLUMNS, file=io.StringIO(), force_terminal=True, color_system="truecolor")
    console.print(Text.from_ansi(output.rstrip()))
    picture = console.export_svg(title=command.replace(" --store demo", ""), theme=MONOKAI, unique_id="terminal")
    # Name no fonts on a foreign server.
    picture = re.sub(r"@font-face \{.*?\}\s*", "", picture, flags=re.DOTALL)
    return re.sub(
        r"font-family: Fira Code, monospace", "font-family: ui-monospace, Menlo, Consolas, monospace", picture
    )


def photograph(page: Path, browser: str) -> None:
    """Take pictures of the HTML report as a desktop and as a phone show it."""
    from playwright.sync_api import sync_playwright

    with sync_playwright() as driver:
        chromium = driver.chromium.launch(executable_path=browser, args=["--no-sandbox"])
        for name, width, height in (("report-desktop", 1280, 1400), ("report-phone", 390, 1500)):
            tab = chromium.new_page(viewport={"width": width, "height": height})
            tab.goto(page.as_uri())
            tab.screenshot(path=str(IMAGES / f"{name}.png"))
        chromium.close()


def main() -> None:
    """Fill the demo's store in a temporary folder and draw each command."""
    with tempfile.TemporaryDirectory() as folder:
        variables = {name: value for name, value in os.environ.items() if not name.startswith(("LLMTRACE_", "OTEL_"))}
        variables |= {"XDG_STATE_HOME": folder, "COLUMNS": str(COLUMNS), "FORCE_COLOR": "1", "TERM": "xterm-256color"}
        variables |= {"COLORTERM": "truecolor", "NO_COLOR": ""}
        run = [sys.executable, "-m", "llmtrace"]
        subprocess.run([*run, "demo"], env=variables, check=True, capture_output=True)
        for name, arguments in COMMANDS.items():
            done = subprocess.run([*run, *arguments.split()], env=variables, check=True, capture_output=True, text=True)
            (IMAGES / f"{name}.svg").write_text(svg(f"llmtrace {arguments}", done.stdout))
        if len(sys.argv) > 1:
            page = Path(folder) / "report.html"
            report = [*run, "report", "--store", "demo", "--html", str(page)]
            subprocess.run(report, env=variables, check=True, capture_output=True)
            photograph(page, sys.argv[1])


if __name__ == "__main__":
    main()
