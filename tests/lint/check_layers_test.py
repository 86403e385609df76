#!/usr/bin/env python3
"""Feeds check_layers.py small trees, good and bad."""

import pathlib
import subprocess
import sys
import tempfile
import unittest

SCRIPT = pathlib.Path(__file__).resolve().with_name("check_layers.py")

GOOD = {
    "include/cairn/store.h": "#pragma once\n#include <string>\n#include <cairn/error.h>\n",
    "include/cairn/error.h": "#pragma once\n#include <filesystem>\n",
    "include/cairn/torch/checkpointer.h": "#include <torch/torch.h>\n#include <cairn/store.h>\n",
    "src/base/hash.h": "#include <cstdint>\n",
    "src/base/hash.cc": '#include "base/hash.h"\n#include <xxhash.h>\n',
    "src/io/file.h": '#include "base/hash.h"\n',
    "src/io/file.cc": '#include "file.h"\n#include <fcntl.h>\nauto f = std::filesystem::exists(p);\n',
    "src/format/index.cc": '#include "format/pack_generated.h"\n#include "base/hash.h"\n',
    "src/pack/pack.h": '#include "io/file.h"\n#include "format/index.h"\n',
    "src/catalog/catalog.cc": '#include <lmdb.h>\n#include "pack/pack.h"\n',
    "src/store/store.cc": '#include "cairn/store.h"\n#include "catalog/catalog.h"\n#include <fmt/core.h>\n',
    "src/interop/safetensors.cc": '#include <nlohmann/json.hpp>\n#include <cairn/store.h>\n#include "io/file.h"\n',
    "src/torch/state.h": "#include <cairn/torch/checkpointer.h>\n",
    "src/torch/state.cc": '#include "state.h"\n',
    "src/cli/main.cc": '#include <CLI/CLI.hpp>\n#include <unistd.h>\n#include <cairn/store.h>\n',
    "examples/train.cc": "#include <cairn/torch/checkpointer.h>\n#include <fstream>\n",
}


class CheckLayers(unittest.TestCase):
    def check(self, changes=()):
        """Runs the checker on GOOD with `changes`; returns its exit code and what it printed."""
        with tempfile.TemporaryDirectory() as directory:
            root = pathlib.Path(directory)
            for name, text in {**GOOD, **dict(changes)}.items():
                path = root / name
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_text(text, encoding="utf-8")
            run = subprocess.run([sys.executable, SCRIPT, root], capture_output=True, text=True, check=False)
            return run.returncode, run.stdout + run.stderr

    def assert_rejects(self, name, text, message):
        code, output = self.check({name: text})
        self.assertEqual(code, 1, output)
        self.assertIn(message, output)
        self.assertEqual(output.count("\n"), 2, output)  # this violation, and the closing line

    def test_accepts_a_good_tree(self):
        code, output = self.check()
        self.assertEqual((code, output), (0, "check_layers: ok\n"))

    def test_names_file_and_line(self):
        self.assert_rejects("src/base/a.cc", '\n\n#include "io/file.h"\n', "src/base/a.cc:3: ")

    def test_rejects_each_layer_that_looks_up(self):
        for low, high in [("base", "io"), ("io", "format"), ("format", "io"), ("format", "pack"),
                          ("pack", "catalog"), ("catalog", "store"), ("store", "interop"),
                          ("interop", "store"), ("interop", "pack"), ("base", "cli"), ("store", "torch")]:
            with self.subTest(low=low, high=high):
                self.assert_rejects(f"src/{low}/a.cc", f'#include "{high}/x.h"\n', f'src/{low} includes "{high}/x.h"')

    def test_rejects_private_headers_outside_the_core(self):
        for path in ["src/cli/a.cc", "src/torch/a.cc", "examples/a.cc"]:
            with self.subTest(path=path):
                self.assert_rejects(path, '#include "base/hash.h"\n', "may use only include/")

    def test_rejects_a_private_header_in_a_public_one(self):
        self.assert_rejects("include/cairn/a.h", '#include "base/hash.h"\n', "a public header includes the private")

    def test_rejects_libtorch_outside_its_layer(self):
        self.assert_rejects("include/cairn/a.h", "#include <torch/torch.h>\n", "of LibTorch")
        self.assert_rejects("include/cairn/a.h", "#include <cairn/torch/checkpointer.h>\n", "needs LibTorch")
        self.assert_rejects("src/store/a.cc", "#include <c10/util/Half.h>\n", "of LibTorch")
        self.assert_rejects("src/cli/a.cc", "#include <cairn/torch/checkpointer.h>\n", "needs LibTorch")

    def test_rejects_lmdb_outside_the_catalog(self):
        for path in ["src/store/a.cc", "src/pack/a.cc", "include/cairn/a.h"]:
            with self.subTest(path=path):
                self.assert_rejects(path, "#include <lmdb.h>\n", "of LMDB; only src/catalog may")

    def test_rejects_dependencies_in_public_headers(self):
        for header in ["flatbuffers/flatbuffers.h", "xxhash.h", "fmt/core.h", "nlohmann/json.hpp", "lmdb.h"]:
            with self.subTest(header=header):
                self.assert_rejects("include/cairn/a.h", f"#include <{header}>\n", header)

    def test_rejects_json_outside_interop_and_cli(self):
        self.assert_rejects("src/store/a.cc", "#include <nlohmann/json.hpp>\n", "of nlohmann-json")

    def test_rejects_file_system_headers_outside_io(self):
        for header in ["fcntl.h", "unistd.h", "sys/stat.h", "sys/file.h", "sys/mman.h", "fstream"]:
            with self.subTest(header=header):
                self.assert_rejects("src/catalog/a.cc", f"#include <{header}>\n", "only src/io makes file system calls")
        self.assert_rejects("src/cli/a.cc", "#include <fcntl.h>\n", "only src/io")

    def test_rejects_file_system_calls_outside_io(self):
        for call in ["std::fopen(name, mode);", "fopen (name, mode);", "std::filesystem::remove_all(p);",
                     "std::filesystem::exists(p);", "std::filesystem::create_directories(p);"]:
            with self.subTest(call=call):
                self.assert_rejects("src/store/a.cc", f"auto x = {call}\n", "calls the file system")

    def test_ignores_comments_and_strings(self):
        text = ('// #include <lmdb.h>\n/* #include "store/x.h"\nfopen(a) */\nconst char* s = "fopen(x)";\n'
                'std::string r = R"(#include <lmdb.h>\n#include <lmdb.h>\n)";\n')
        self.assertEqual(self.check({"src/base/a.cc": text})[0], 0)

    def test_sees_an_include_behind_a_comment(self):
        self.assert_rejects("src/base/a.cc", '/* why */ #  include <lmdb.h> // because\n', "of LMDB")

    def test_rejects_a_path_that_climbs(self):
        self.assert_rejects("src/base/a.cc", '#include "../store/x.h"\n', "climbs out")

    def test_rejects_an_unknown_layer(self):
        self.assert_rejects("src/extra/a.cc", "int x;\n", "no layer")

    def test_rejects_a_quoted_header_that_is_nowhere(self):
        self.assert_rejects("src/base/a.cc", '#include "nowhere.h"\n', "found neither")

    def test_rejects_a_public_header_that_does_not_exist(self):
        self.assert_rejects("src/base/a.cc", "#include <cairn/nowhere.h>\n", "no public header")

    def test_refuses_a_tree_without_headers(self):
        with tempfile.TemporaryDirectory() as directory:
            run = subprocess.run([sys.executable, SCRIPT, directory], capture_output=True, check=False)
            self.assertEqual(run.returncode, 2)


if __name__ == "__main__":
    unittest.main()
