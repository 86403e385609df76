#!/usr/bin/env python3
"""Checks that each layer includes only what stands before it.

    check_layers.py [ROOT]

The order and its reasons are in docs/architecture.md; the rules are the tables below. Prints one line
for each violation, as FILE:LINE: what is wrong. Exit code: 0 no violation, 1 violations, 2 usage.
"""

import pathlib
import re
import sys

# Layers of the core, each with those that it may use besides itself and the public headers.
CORE = {
    "base": [],
    "io": ["base"],
    "codec": ["base"],  # pure: bytes in, bytes out
    "format": ["base"],  # pure: bytes in, values out, no I/O
    "pack": ["base", "io", "codec", "format"],
    "catalog": ["base", "io", "format", "pack"],
    "store": ["base", "io", "codec", "format", "pack", "catalog"],
    "interop": ["base", "io"],  # foreign formats; reaches a store through its public headers
}
# These use the public headers and their own directory, nothing private of the core.
OUTSIDE = ["torch", "cli"]

# Third-party headers, and where each may be included. Tests and benchmarks are free.
EXTERNAL = [
    (re.compile(r"^lmdb\.h$"), "LMDB", ["src/catalog"]),
    (re.compile(r"^(torch|ATen|c10|caffe2)/"), "LibTorch", ["src/torch", "include/cairn/torch", "examples"]),
    (re.compile(r"^flatbuffers/"), "FlatBuffers", ["src"]),
    (re.compile(r"^xxh(ash|3)\.h$|^xxh_"), "xxHash", ["src"]),
    (re.compile(r"^z(std|std_errors|dict)\.h$"), "zstd", ["src/codec"]),
    (re.compile(r"^zlib\.h$"), "zlib", ["src/interop"]),
    (re.compile(r"^fmt/"), "fmt", ["src"]),
    (re.compile(r"^nlohmann/"), "nlohmann-json", ["src/interop", "src/cli"]),
    (re.compile(r"^CLI/"), "CLI11", ["src/cli", "examples"]),
]

# Only src/io calls the file system. These headers declare such calls; here is who else may have them.
FILE_SYSTEM_HEADERS = {
    "dirent.h", "fcntl.h", "fstream", "ftw.h", "linux/falloc.h", "linux/fs.h", "linux/stat.h",
    "sys/file.h", "sys/ioctl.h", "sys/mman.h", "sys/sendfile.h", "sys/stat.h", "sys/statfs.h",
    "sys/statvfs.h", "sys/syscall.h", "sys/uio.h", "sys/vfs.h", "unistd.h",
}
FILE_SYSTEM_EXCEPTIONS = {
    "src/cli": {"unistd.h", "sys/ioctl.h"},  # isatty, the terminal's width
}
FILE_SYSTEM_CALLS = re.compile(
    r"\b(?:std::)?(fopen|freopen|fdopen|tmpfile|mkstemp|mkdtemp)\s*\("
    r"|\bfilesystem::(?:(?:\w+_)?(?:copy|create|remove|rename|resize|exists|status|file_size|last_write)"
    r"\w*|is_\w+|space|canonical|weakly_canonical|directory_iterator|recursive_directory_iterator)\b"
)

INCLUDE = re.compile(r'^\s*#\s*include\s*([<"])([^>"]+)[>"]')
SUFFIXES = {".h", ".cc"}


def strip_comments(text):
    """Blanks comments and the contents of string literals, and keeps every line where it was."""
    pattern = re.compile(
        r'//[^\n]*|/\*.*?\*/|R"(?P<d>[^(\s]*)\(.*?\)(?P=d)"|"(?:\\.|[^"\\\n])*"|\'(?:\\.|[^\'\\\n])+\'',
        re.DOTALL,
    )
    return pattern.sub(
        lambda m: m.group(0) if m.group(0)[0] in "\"'" and "\n" not in m.group(0) and _is_include(text, m)
        else re.sub(r"[^\n]", " ", m.group(0)),
        text,
    )


def _is_include(text, match):
    start = text.rfind("\n", 0, match.start()) + 1
    return re.match(r"\s*#\s*include\s*$", text[start:match.start()]) is not None


def place_of(path):
    """The layer directory that a file belongs to: "src/pack", "include/cairn", "examples"..."""
    parts = path.parts
    if parts[:3] == ("include", "cairn", "torch"):
        return "include/cairn/torch"
    if parts[0] == "include":
        return "include/cairn"
    if parts[0] == "src" and len(parts) > 2:
        return "src/" + parts[1]
    return parts[0]


def is_under(place, allowed):
    return any(place == a or place.startswith(a + "/") for a in allowed)


class Checker:
    def __init__(self, root):
        self.root = root
        self.violations = []

    def report(self, path, line, message):
        self.violations.append(f"{path}:{line}: {message}")

    def run(self):
        for top in ("include", "src", "examples"):
            for file in sorted((self.root / top).rglob("*")):
                if file.is_file() and file.suffix in SUFFIXES:
                    self.check_file(file)
        for directory in sorted((self.root / "src").glob("*")):
            if directory.is_dir() and directory.name not in [*CORE, *OUTSIDE]:
                self.report(f"src/{directory.name}", 1, "is no layer that this check knows")
        return self.violations

    def check_file(self, file):
        path = file.relative_to(self.root)
        place = place_of(path)
        text = strip_comments(file.read_text(encoding="utf-8"))
        for number, line in enumerate(text.split("\n"), 1):
            match = INCLUDE.match(line)
            if match:
                self.check_include(path, place, number, match.group(1) == '"', match.group(2))
            elif place.startswith("src/") and place != "src/io" or place.startswith("include"):
                call = FILE_SYSTEM_CALLS.search(line)
                if call:
                    self.report(path, number,
                                f"calls the file system ({call.group(0).rstrip('( ')}); only src/io does")

    def check_include(self, path, place, number, quoted, name):
        if ".." in name.split("/"):
            self.report(path, number, f'"{name}" climbs out of its directory; name it from an include root')
            return
        if quoted and (self.root / path.parent / name).is_file():
            return  # beside the file: the same layer
        first = name.split("/")[0]
        if first == "cairn":
            self.check_public(path, place, number, name)
        elif quoted and (first in CORE or first in OUTSIDE) and "/" in name:
            self.check_private(path, place, number, name, first)
        elif quoted and not self.is_external(name):
            self.report(path, number, f'"{name}" is found neither beside the file nor in a layer')
        else:
            self.check_external(path, place, number, name)

    def is_external(self, name):
        return any(pattern.search(name) for pattern, _, _ in EXTERNAL)

    def check_public(self, path, place, number, name):
        if name.startswith("cairn/torch/") and place not in (
                "src/torch", "include/cairn/torch", "examples"):
            self.report(path, number, f"{place} includes <{name}>, which needs LibTorch")
        if not (self.root / "include" / name).is_file():
            self.report(path, number, f"<{name}> is no public header")

    def check_private(self, path, place, number, name, layer):
        if place.startswith("include"):
            self.report(path, number, f'a public header includes the private "{name}"')
            return
        if place == "src/" + layer:
            return
        own = place.removeprefix("src/")
        if own in CORE:
            if layer not in CORE[own]:
                allowed = ", ".join(CORE[own]) or "no other layer"
                self.report(path, number, f'{place} includes "{name}"; it may use {allowed}')
        else:
            self.report(path, number, f'{place} includes the private "{name}"; it may use only include/')

    def check_external(self, path, place, number, name):
        for pattern, library, allowed in EXTERNAL:
            if pattern.search(name) and not is_under(place, allowed):
                self.report(path, number,
                            f"{place} includes <{name}> of {library}; only {', '.join(allowed)} may")
        if (name in FILE_SYSTEM_HEADERS and place != "src/io" and place != "examples"
                and name not in FILE_SYSTEM_EXCEPTIONS.get(place, ())):
            self.report(path, number, f"{place} includes <{name}>; only src/io makes file system calls")


def main(arguments):
    if len(arguments) > 1 or any(a.startswith("-") for a in arguments):
        print(__doc__, file=sys.stderr)
        return 2
    root = pathlib.Path(arguments[0]) if arguments else pathlib.Path(__file__).resolve().parents[2]
    if not (root / "include").is_dir():
        print(f"check_layers: {root} has no include/ directory", file=sys.stderr)
        return 2
    violations = Checker(root).run()
    for violation in violations:
        print(violation)
    print(f"check_layers: {len(violations)} violation(s)" if violations else "check_layers: ok")
    return 1 if violations else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
