#!/usr/bin/env python3
"""What README.md and docs/*.md point to is there: files, headings of links with #, and the headings that sources name as
`docs/NAME.md, "Heading"`. Links to other hosts are not looked at."""

import re
import sys
from pathlib import Path

root = Path(__file__).resolve().parents[3]
mistakes = []


def anchor(heading):
    """The name under which GitHub and most readers of Markdown know a heading."""
    return re.sub(r"[^\w\- ]", "", heading.lower().replace("`", "")).replace(" ", "-")


def without_code(text):
    """With as many lines as before, so that line numbers stay right."""
    text = re.sub(r"^```.*?^```", lambda m: "\n" * m.group().count("\n"), text, flags=re.M | re.S)
    return re.sub(r"^ {4}.*$", "", text, flags=re.M)


def headings(path, known={}):
    """Each as it stands, as far as its colon, and as the anchor of a link."""
    if path not in known:
        all_of_it = re.findall(r"^#+ +(.*?) *$", without_code(path.read_text()), flags=re.M)
        known[path] = {name for h in all_of_it for name in (h, h.split(":")[0], anchor(h))}
    return known[path]


def look(source, line, file, fragment):
    """`fragment`: an anchor, or a heading's words; empty: the file alone."""
    if not file.exists():
        mistakes.append(f"{source.relative_to(root)}:{line}: there is no {file}")
    elif fragment and fragment not in headings(file):
        mistakes.append(f"{source.relative_to(root)}:{line}: {file.relative_to(root)} has no section \"{fragment}\"")


def look_all(source, text, pattern, folder):
    found = 0
    for match in re.finditer(pattern, text):
        file, fragment = match["file"], match["fragment"] or ""
        target = source if not file else (folder / file).resolve()
        look(source, text[: match.start()].count("\n") + 1, target, fragment)
        found += 1
    return found


links = 0
for document in [root / "README.md", *sorted((root / "docs").glob("*.md"))]:
    text = without_code(document.read_text())
    links += look_all(document, text, r"\]\((?!\w+:)(?P<file>[^)#\s]*)(?:#(?P<fragment>[^)\s]+))?\)", document.parent)
    # A section named beside its link: [a.md](a.md), "Heading" and "Heading" in [a.md](a.md)
    look_all(document, text, r"\]\((?P<file>[^)#:\s]+\.md)\),\s+(?:section\s+)?\"(?P<fragment>[^\"]+)\"", document.parent)
    look_all(document, text, r"\"(?P<fragment>[^\"\n]+)\"\s+(?:in|of)\s+\[[^]]*\]\((?P<file>[^)#:\s]+\.md)\)", document.parent)

mentions = 0
for folder in "config include migrations packaging scripts src systemd tests".split():
    for source in sorted((root / folder).rglob("*")):
        if not source.is_file() or source.suffix in {".png", ".csv", ".gz"} or source == Path(__file__).resolve():
            continue
        text = source.read_text(errors="replace")
        mentions += look_all(source, text, r"(?<![\w/])(?P<file>docs/[\w-]+\.md)(?:, (?:section )?\"(?P<fragment>[A-Z][^\"\n]*)\")?", root)

print("\n".join(mistakes) or f"{links} links and {mentions} mentions lead to something")
if links < 50 or mentions < 30:
    sys.exit("the test has lost its links: have the patterns gone out of use?")
sys.exit(1 if mistakes else 0)
