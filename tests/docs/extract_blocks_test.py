#!/usr/bin/env python3
"""Tests of extract_blocks.py: a block is never left out in silence."""
import pathlib
import sys
import tempfile
import unittest

sys.dont_write_bytecode = True
import extract_blocks  # noqa: E402


class ExtractBlocks(unittest.TestCase):
    def setUp(self):
        self.scratch = tempfile.TemporaryDirectory()
        self.addCleanup(self.scratch.cleanup)
        self.root = pathlib.Path(self.scratch.name)

    def generate(self, page):
        (self.root / "page.md").write_text(page)
        return extract_blocks.generate(self.root, "page.md")

    def refuses(self, message, page):
        with self.assertRaisesRegex(extract_blocks.PageError, message):
            self.generate(page)

    def test_a_block_becomes_a_test_at_its_line(self):
        source = self.generate("# Page\n\n```cpp\nint x = 1;\n```\n")
        self.assertIn('TEST_F(Page, page_line_4) {\n#line 4 "page.md"\nint x = 1;\n}', source)

    def test_a_block_sees_its_fixture_and_the_blocks_that_it_continues(self):
        source = self.generate("<!-- test: with Job -->\n```cpp\nint x = 1;\n```\ntext\n\n"
                               "<!-- test: continues -->\n```cpp\nint y = x;\n```\n"
                               "<!-- then:\nEXPECT_EQ(y, 1);\n-->\n")
        self.assertEqual(source.count("TEST_F("), 1)
        self.assertRegex(source, r"TEST_F\(Job, page_line_3\) \{[^}]*int x = 1;[^}]*int y = x;"
                                 r"[^}]*EXPECT_EQ\(y, 1\);")

    def test_includes_go_to_the_top(self):
        source = self.generate("```cpp\n#include <map>\nstd::map<int, int> m;\n```\n")
        self.assertLess(source.index("#include <map>"), source.index("TEST_F("))

    def test_a_program_is_called(self):
        source = self.generate("```cpp\nint main(int argc, char** argv) {\n}\n```\n")
        self.assertIn("return 0;\n}", source)
        self.assertIn("EXPECT_EQ(page_line_2_program::program(1, arguments), 0);", source)

    def test_shell_and_output_are_run(self):
        source = self.generate("<!-- test: with Job -->\n```sh\ncairn ls runs/a\n```\n"
                               "<!-- test: output of space -->\n```text\n1 2\n```\n")
        self.assertIn("run_shell(", source)
        self.assertIn("output_of(", source)

    def test_a_page_without_blocks_is_empty(self):
        self.assertNotIn("TEST_F", self.generate("text\n\n```sh\n./dev test\n```\n"))

    def test_mistakes_in_a_page_are_errors(self):
        self.refuses("unknown `test: wiht Job`", "<!-- test: wiht Job -->\n```cpp\n```\n")
        self.refuses("no block follows", "<!-- test: with Job -->\ntext\n")
        self.refuses("no block to continue", "<!-- test: continues -->\n```cpp\n```\n")
        self.refuses("cannot read", "<!-- test with Job -->\n```cpp\n```\n")
        self.refuses("stands after no block", "<!-- then:\n-->\n")
        self.refuses("ends within", "```cpp\nint x;\n")
        self.refuses("not tested", "<!-- test: with Job -->\n```cmake\n```\n")
        self.refuses("does not parse", "```python\ndef\n```\n")

    def test_a_copy_of_a_file_must_be_one(self):
        (self.root / "a.cc").write_text("int a;\nint b;\n")
        self.generate("<!-- test: same as a.cc -->\n```cpp\nint a;\nint b;\n```\n")
        self.generate("<!-- test: part of a.cc -->\n```cpp\nint b;\n```\n")
        self.refuses("is not same as a.cc", "<!-- test: same as a.cc -->\n```cpp\nint b;\n```\n")
        self.refuses("is not part of a.cc", "<!-- test: part of a.cc -->\n```cpp\nint c;\n```\n")


if __name__ == "__main__":
    unittest.main()
