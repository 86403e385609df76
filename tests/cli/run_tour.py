#!/usr/bin/env python3
"""Runs docs/tour.md: every command of its console blocks, in order, in one shell in an empty directory.

A block begins with ```console. In it, "$ " begins a command, "> " goes on with it, and everything else is
what it prints on standard output and standard error together. What differs from run to run is compared by
its form only (VARIABLE below). Every command of the tool must appear. ~/cairn is this source tree.

  run_tour.py --tool build/bin/cairn docs/tour.md            compares; exit code 1 if anything differs
  run_tour.py --tool build/bin/cairn --update docs/tour.md   writes what was printed into the page
"""
import argparse
import difflib
import os
import pathlib
import re
import subprocess
import sys
import tempfile

# What stands for what differs from run to run. The page says so, too.
VARIABLE = [
    (re.compile(r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\dZ"), "<time>"),
    (re.compile(r"unixtime = [\d.e+]+"), "unixtime = <time>"),
    (re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}"), "<uuid>"),
    (re.compile(r"[\d.]+ (B|[KMGT]iB)/s"), "<rate>"),
    (re.compile(r"on disk +[\d.]+ (B|[KMGT]iB)( \(was [\d.]+ (B|[KMGT]iB)\))?"), "on disk <size>"),
    (re.compile(r"of [\d.]+ (B|[KMGT]iB) on disk"), "of <size> on disk"),
    (re.compile(r"[\d.]+ ms"), "<time>"),
    (re.compile(r"\d+ saves acknowledged"), "<count> saves acknowledged"),
    (re.compile(r"(pid|process) \d+"), r"\1 <number>"),
    (re.compile(r'"created_unix_ns":\d+'), '"created_unix_ns":<time>'),
    (re.compile(r'"unixtime":[\d.e+]+'), '"unixtime":<time>'),
    (re.compile(r" {2,}"), "  "),
]
# A disk of the tests is what it is: what is said of it is not compared.
FREE_OUTPUT = re.compile(r"^cairn selftest ")


def normal(lines):
    normalized = []
    for line in lines:
        for pattern, stands_for in VARIABLE:
            line = pattern.sub(stands_for, line)
        normalized.append(line.rstrip())
    return normalized


class Step:
    def __init__(self, command):
        self.command = command
        self.expected = []


def parse(text):
    """The page as a list of lines and steps."""
    parts = []
    in_block = False
    for line in text.split("\n"):
        if not in_block:
            parts.append(line)
            in_block = line == "```console"
        elif line == "```":
            parts.append(line)
            in_block = False
        elif line.startswith("$ "):
            parts.append(Step([line[2:]]))
        elif line.startswith("> ") and isinstance(parts[-1], Step) and not parts[-1].expected:
            parts[-1].command.append(line[2:])
        else:
            parts[-1].expected.append(line)
    return parts


class Shell:
    MARK = "\x1e"

    def __init__(self, tool, directory, home):
        environment = {
            "PATH": f"{tool.parent}:{os.environ['PATH']}",
            "HOME": home,
            "LC_ALL": "C.UTF-8",
        }
        for name, value in os.environ.items():
            if name.endswith("SAN_OPTIONS"):
                environment[name] = value
        self.process = subprocess.Popen(
            ["bash", "--norc"], stdin=subprocess.PIPE, stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT, cwd=directory, env=environment)

    def run(self, command):
        lines = "\n".join(command)
        self.process.stdin.write(
            f"{lines}\n__status=$?; printf '{self.MARK}\\n'; (exit $__status)\n".encode())
        self.process.stdin.flush()
        printed = bytearray()
        while not printed.endswith(f"{self.MARK}\n".encode()):
            got = self.process.stdout.read1(65536)
            if not got:
                raise SystemExit(f"the shell ended in: {lines}")
            printed += got
        text = printed.decode()[: -len(self.MARK) - 1]
        return text.removesuffix("\n").split("\n") if text else []

    def close(self):
        self.process.stdin.close()
        self.process.wait()


def commands_of(tool):
    overview = subprocess.run([tool, "--help"], capture_output=True, text=True, check=True).stdout
    section = overview.split("Commands:\n", 1)[1].split("\n\n", 1)[0]
    return re.findall(r"^  (\w+) ", section, re.MULTILINE)


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--tool", type=lambda path: pathlib.Path(path).resolve(), required=True)
    parser.add_argument("--update", action="store_true")
    parser.add_argument("page", type=pathlib.Path)
    options = parser.parse_args()

    parts = parse(options.page.read_text())
    steps = [part for part in parts if isinstance(part, Step)]
    problems = []
    with tempfile.TemporaryDirectory() as directory, tempfile.TemporaryDirectory() as home:
        os.symlink(pathlib.Path(__file__).resolve().parents[2], f"{home}/cairn")
        shell = Shell(options.tool, directory, home)
        for step in steps:
            printed = shell.run(step.command)
            is_free = FREE_OUTPUT.search(step.command[0])
            if not is_free and normal(printed) != normal(step.expected):
                problems.append("\n".join(difflib.unified_diff(
                    normal(step.expected), normal(printed), "the page", "printed", lineterm="",
                    n=100)).join(["$ " + "\n> ".join(step.command) + "\n", ""]))
            if options.update and (not is_free or not step.expected):
                if normal(printed) != normal(step.expected):
                    step.expected = [line.rstrip() for line in printed]
        shell.close()

    # In words that are run: "cairn ls runs/a", "... | cairn man".
    used = set()
    for step in steps:
        used.update(re.findall(r"\bcairn (\w+)", "\n".join(step.command)))
    missing = [name for name in commands_of(options.tool) if name not in used]
    if missing:
        problems.append("no command of the page is: " + ", ".join(missing))

    if options.update:
        lines = []
        for part in parts:
            if isinstance(part, Step):
                lines += ["$ " + "\n> ".join(part.command), *part.expected]
            else:
                lines.append(part)
        options.page.write_text("\n".join(lines))
    print("\n\n".join(problems) or f"{options.page}: {len(steps)} commands ran as the page says")
    return bool(problems)


if __name__ == "__main__":
    sys.exit(main())
