#!/usr/bin/env python3
"""The table of test/check_coverage.sh, from gcovr's JSON: coverage.py JSON LIST LINES BRANCHES. LIST has a line for each function
that the tests do not run to its end: `file function: why`. A line that is not true any more fails, and so does a function that
belongs there: one with LEAST_LINES lines that are not run, or LEAST_BRANCHES branches that are not taken. (Python comes with
gcovr.)"""
import json
import re
import sys

LEAST_LINES, LEAST_BRANCHES = 3, 8
COVERED = 4  # branches; threads are not as punctual as a limit that is the same in both directions would want


def functions(file):
    """(name, lines not run, how many branches are not taken) of each function."""
    starts = sorted({(f["lineno"], f["name"]) for f in file["functions"] if not f["name"].startswith("_sub_")})
    lines = {line["line_number"]: line for line in file["lines"] if not line["gcovr/noncode"]}
    for at, (first, name) in enumerate(starts):
        last = starts[at + 1][0] if at + 1 < len(starts) else 1 << 30
        mine = [line for number, line in lines.items() if first <= number < last]
        missed = [line["line_number"] for line in mine if not line["count"]]
        untaken = sum(not branch["count"] for line in mine for branch in line["branches"])
        yield name, missed, untaken


def table(files):
    print(f'{"file":16} {"lines":>7} {"run":>7} {"branches":>9} {"taken":>7}')
    sums = [0, 0, 0, 0]
    for file in files:
        lines = [line for line in file["lines"] if not line["gcovr/noncode"]]
        branches = [branch for line in lines for branch in line["branches"]]
        row = [len(lines), sum(line["count"] > 0 for line in lines), len(branches), sum(b["count"] > 0 for b in branches)]
        show(file["file"], row)
        sums = [a + b for a, b in zip(sums, row)]
    show("all", sums)
    return 100 * sums[1] / sums[0], 100 * sums[3] / sums[2]


def show(name, row):
    share = [100 * row[i + 1] / row[i] if row[i] else 100 for i in (0, 2)]
    print(f"{name:16} {row[0]:7} {share[0]:6.1f}% {row[2]:9} {share[1]:6.1f}%")


def said(well, text):
    print(f'{"ok" if well else "FAILED":6} {text}')


def main(path, list_path, least_lines, least_branches):
    with open(path, encoding="utf-8") as file:
        files = [f for f in json.load(file)["files"] if re.fullmatch(r"[a-z]+\.[ch]", f["file"])]
    lines, branches = table(files)
    said(lines >= least_lines, f"{lines:.1f} % of lines are run, {least_lines} are wanted")
    said(branches >= least_branches, f"{branches:.1f} % of branches are taken, {least_branches} are wanted")
    found = {(f["file"], name): (missed, untaken) for f in files for name, missed, untaken in functions(f)}
    with open(list_path, encoding="utf-8") as file:
        rows = [line for line in file.read().splitlines() if line and not line.startswith("#")]
    said(len(rows) <= 40, f"{len(rows)} lines in {list_path}, at most 40")
    listed, wrong = set(), 0
    for row in rows:
        match = re.fullmatch(r"(\S+) (\S+): (.+)", row)
        key = match and (match[1], match[2])
        missed, untaken = found.get(key, ([], 0))
        listed.add(key)
        if not missed and untaken < COVERED:
            said(False, f"{list_path} lists what is covered, or not there: {row}")
            wrong += 1
    for key, (missed, untaken) in sorted(found.items()):
        if key not in listed and (len(missed) >= LEAST_LINES or untaken >= LEAST_BRANCHES):
            said(False, f"not covered and not in {list_path}: {key[0]} {key[1]}, lines {missed}, {untaken} branches")
            wrong += 1
    if not wrong:
        said(True, f"{list_path} is true: {len(rows)} functions have reasons")


main(sys.argv[1], sys.argv[2], float(sys.argv[3]), float(sys.argv[4]))
