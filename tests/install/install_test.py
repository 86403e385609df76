#!/usr/bin/env python3
"""Installs Cairn into a scratch prefix, and builds programs against what was installed.

    install_test.py --source DIR --build DIR --scratch DIR [--flags FLAGS] [--torch-dir DIR] CASE

CASE is `core`, `embedded` (add_subdirectory, shared libraries) or `torch`. Prints the commands that it
runs; exit code 0 only if all is well.
"""

import argparse
import os
import pathlib
import re
import shutil
import subprocess
import sys

PRIVATE_HEADERS = re.compile(
    r'#\s*include\s*("|<(lmdb|flatbuffers|xxh|zstd|zlib|fmt|nlohmann|CLI|base/|io/|format/|pack/|catalog/|store/))')


class Failure(Exception):
    pass


def expect(condition, message):
    if not condition:
        raise Failure(message)


class Tester:
    def __init__(self, options):
        self.options = options
        self.here = pathlib.Path(__file__).resolve().parent
        self.scratch = pathlib.Path(options.scratch)
        shutil.rmtree(self.scratch, ignore_errors=True)
        self.scratch.mkdir(parents=True)
        self.prefix = self.scratch / "prefix"
        self.builds = 0

    def run(self, *command, env=None, fails=False):
        """Runs a command and returns what it printed. `fails`: it must fail."""
        print("+", *command, flush=True)
        done = subprocess.run([str(word) for word in command], stdout=subprocess.PIPE,
                              stderr=subprocess.STDOUT, text=True, env={**os.environ, **(env or {})})
        if (done.returncode != 0) != fails:
            print(done.stdout)
            raise Failure(f"exit code {done.returncode}")
        return done.stdout

    def install(self, build, *components):
        for component in components or [None]:
            extra = ["--component", component] if component else []
            self.run("cmake", "--install", build, "--prefix", self.prefix, *extra)
        # Where the files lie must not matter.
        moved = self.scratch / "moved"
        self.prefix.rename(moved)
        self.prefix = moved

    def configure(self, name, *settings, fails=False, build=None):
        self.builds += 1
        build = build or self.scratch / f"build-{self.builds}-{name}"
        output = self.run("cmake", "-S", self.here / name, "-B", build, "-G", "Ninja",
                          "-DCMAKE_BUILD_TYPE=RelWithDebInfo", f"-DCMAKE_PREFIX_PATH={self.prefix}",
                          *settings, fails=fails)
        return output if fails else build

    def build_and_run(self, build):
        self.run("cmake", "--build", build, "-j", "2")
        self.run_consumer(build / "consumer")

    def run_consumer(self, program, env=None):
        store = self.scratch / "store"
        shutil.rmtree(store, ignore_errors=True)
        expect(self.run(program, store, env=env) == "ok\n", f"{program} did not print ok")

    def build_by_pkg_config(self, *linking):
        """Compiles the core's consumer with what pkg-config says, and nothing else."""
        (pc,) = self.prefix.rglob("pkgconfig")
        env = {"PKG_CONFIG_PATH": str(pc)}
        flags = self.run("pkg-config", "--cflags", "--libs", *linking, "cairn", env=env).split()
        program = self.scratch / "pkg-config-consumer"
        self.run("c++", "-std=c++20", self.here / "core/main.cc", "-o", program, *flags)
        self.run_consumer(program, env={"LD_LIBRARY_PATH": str(pc.parent)})

    def expect_clean_tree(self):
        """No path of the build machine in any file, and headers that stand by themselves."""
        places = [str(pathlib.Path(p).resolve()).encode()
                  for p in (self.options.source, self.options.build)]
        headers = 0
        for file in self.prefix.rglob("*"):
            if not file.is_file():
                continue
            content = file.read_bytes()
            for place in places:
                expect(place not in content, f"{file} names {place.decode()}")
            if file.suffix != ".h":
                continue
            headers += 1
            for line in content.decode().split("\n"):
                expect(not PRIVATE_HEADERS.match(line), f"{file} includes something private: {line}")
                public = re.match(r"#include <(cairn/[^>]+)>", line)
                expect(not public or (self.prefix / "include" / public[1]).is_file(),
                       f"{file} includes what is not installed: {line}")
        expect(headers > 0, "no header was installed")

    # ---- the cases

    def core(self):
        """The core alone, where no LibTorch can be found."""
        self.install(self.options.build, "tool", "devel")
        self.expect_clean_tree()
        self.run(self.prefix / "bin/cairn", "--version")
        no_torch = "-DCMAKE_DISABLE_FIND_PACKAGE_Torch=ON"
        self.build_and_run(self.configure("core", no_torch))
        self.build_by_pkg_config()
        for component, reason in [("torch", "cairn::torch is not installed beside cairn::core"),
                                  ("tensorflow", 'it has no component "tensorflow"')]:
            output = self.configure("core", no_torch, f"-DCOMPONENTS=core;{component}", fails=True)
            expect(reason in " ".join(output.split()), f"the reason is not told:\n{output}")

    def embedded(self):
        """Inside another project; then what that installs, which is shared."""
        # With the flags of the build that is there, and as deep in the tree, so that ccache has nearly all.
        build = pathlib.Path(self.options.build + "-embedded")
        shutil.rmtree(build, ignore_errors=True)
        self.configure("embedded", f"-DCAIRN_SOURCE={self.options.source}",
                               f"-DCMAKE_CXX_FLAGS_RELWITHDEBINFO={self.options.flags}", "-DCAIRN_WERROR=ON",
                               "-DBUILD_SHARED_LIBS=ON", "-DCAIRN_INSTALL=ON", "-DCAIRN_WITH_TORCH=OFF",
                               build=build)
        self.build_and_run(build)
        self.install(build)
        self.expect_clean_tree()
        self.run(self.prefix / "bin/cairn", "--version")
        self.build_and_run(self.configure("core", "-DCMAKE_DISABLE_FIND_PACKAGE_Torch=ON",
                                          # A shared core brings along what it uses.
                                          "-DCMAKE_DISABLE_FIND_PACKAGE_fmt=ON",
                                          "-DCMAKE_DISABLE_FIND_PACKAGE_PkgConfig=ON"))
        self.build_by_pkg_config()

    def torch(self):
        self.install(self.options.build)
        self.expect_clean_tree()
        output = self.configure("torch", "-DCMAKE_DISABLE_FIND_PACKAGE_Torch=ON", fails=True)
        expect("cairn::torch needs LibTorch" in output, f"the reason is not told:\n{output}")
        build = self.configure("torch", f"-DTorch_DIR={self.options.torch_dir}")
        self.build_and_run(build)


def main():
    parser = argparse.ArgumentParser(usage=__doc__)
    parser.add_argument("--source", required=True)
    parser.add_argument("--build", required=True)
    parser.add_argument("--scratch", required=True)
    parser.add_argument("--flags", default="-O0")
    parser.add_argument("--torch-dir")
    parser.add_argument("case", choices=["core", "embedded", "torch"])
    options = parser.parse_args()
    try:
        getattr(Tester(options), options.case)()
    except Failure as failure:
        print(f"install_test: {failure}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
