#!/usr/bin/env python3
"""Turns the code blocks of a Markdown page into a C++ source with one test per block.

  extract_blocks.py ROOT PAGE OUT.cc

Every ```cpp block of the page is compiled, and run in an empty directory of its own. A comment right
before a block says what else it needs; it does not show when the page is rendered:

  <!-- test: with FIXTURE -->       run it in this fixture of tests/docs/setups.h, whose members it sees
  <!-- test: continues -->          it goes on where the block before it ended, in the same scope
  <!-- test: compile only -->       compiled, not run
  <!-- test: same as FILE -->       it is this file of the repository, which has a test of its own
  <!-- test: part of FILE -->       its lines stand in this file one after another, likewise

A comment right after a block holds statements that check what the page says of it:

  <!-- then:
  EXPECT_EQ(...);
  -->

`#include` lines go to the top; a block with a `main` is a program. ```sh blocks are run by bash only
with such a comment (`with FIXTURE`); the tool is in PATH. A ```text block may follow
`<!-- test: output of COMMAND -->`: what the command prints must be the block. ```python blocks, which
show what is written elsewhere, must parse.
"""
import ast
import json
import pathlib
import re
import sys

FENCE = re.compile(r"^```(\w*)\s*$")
DIRECTIVE = re.compile(r"^<!-- test: (.*) -->$")


class PageError(Exception):
    pass


class Block:
    def __init__(self, language, line, directive):
        self.language, self.line, self.directive = language, line, directive
        self.lines, self.then, self.then_line = [], [], 0

    @property
    def text(self):
        return "".join(line + "\n" for line in self.lines)


def read_blocks(text):
    blocks, directive, block, then = [], None, None, None
    for number, line in enumerate(text.splitlines(), 1):
        if block is not None:
            if line.rstrip() == "```":
                blocks.append(block)
                block = None
            else:
                block.lines.append(line)
        elif then is not None:
            if line == "-->":
                then = None
            else:
                then.then.append(line)
        elif match := FENCE.match(line):
            block, directive = Block(match.group(1), number + 1, directive), None
        elif match := DIRECTIVE.match(line):
            directive = match.group(1)
        elif line == "<!-- then:":
            if not blocks:
                raise PageError(f"line {number}: `then` stands after no block")
            then = blocks[-1]
            then.then_line = number + 1
        elif line.startswith("<!-- test") or line.startswith("<!-- then"):
            raise PageError(f"line {number}: cannot read {line}")
        elif directive is not None:
            raise PageError(f"line {number}: no block follows `test: {directive}`")
    if block is not None or then is not None or directive is not None:
        raise PageError("the page ends within a block or comment")
    return blocks


def raw(text):
    return f'R"block({text})block"'


def generate(root, page):
    name = re.sub(r"\W", "_", pathlib.PurePath(page).stem)
    includes, tests = set(), []
    open_test = None  # the C++ block that a `continues` goes on with

    def located(line, lines):
        kept = []
        for code in lines:
            if code.startswith("#include"):
                includes.add(code)
                code = ""  # keeps the numbers of the lines
            kept.append(code)
        return [f"#line {line} {json.dumps(page)}"] + kept

    def close():
        nonlocal open_test
        if open_test is not None:
            tests.append("\n".join(open_test + ["}", ""]))
        open_test = None

    for block in read_blocks((root / page).read_text()):
        what = block.directive or ""
        test = f"{name}_line_{block.line}"
        with_fixture = re.fullmatch(r"with (\w+)", what)
        fixture = with_fixture.group(1) if with_fixture else "Page"
        if block.language == "cpp":
            then = located(block.then_line, block.then) if block.then else []
            if what == "continues":
                if open_test is None:
                    raise PageError(f"line {block.line}: there is no block to continue")
                open_test += located(block.line, block.lines) + then
                continue
            close()
            if match := re.fullmatch(r"(same as|part of) (\S+)", what):
                whole = (root / match.group(2)).read_text()
                if block.text != whole and (match.group(1) == "same as" or block.text not in whole):
                    raise PageError(f"line {block.line}: the block is not {what}")
            elif what == "compile only":
                tests.append("\n".join([f"[[maybe_unused]] static void {test}() {{",
                                        *located(block.line, block.lines), "}", ""]))
            elif what and not with_fixture:
                raise PageError(f"line {block.line}: unknown `test: {what}`")
            elif "int main(" in block.text:
                # Only a function named main may leave out its return.
                program = block.text.rstrip().removesuffix("}") + "return 0;\n}"
                code = located(block.line, program.splitlines())
                tests.append("\n".join([f"namespace {test}_program {{", "#define main program", *code,
                                        "#undef main", "}",
                                        f"TEST_F({fixture}, {test}) {{",
                                        "  char name[] = \"program\";",
                                        "  char* arguments[] = {name, nullptr};",
                                        f"  EXPECT_EQ({test}_program::program(1, arguments), 0);",
                                        "}", ""]))
            else:
                open_test = [f"TEST_F({fixture}, {test}) {{",
                             *located(block.line, block.lines), *then]
        elif block.language == "sh" and what:
            close()
            if not with_fixture:
                raise PageError(f"line {block.line}: unknown `test: {what}`")
            tests.append("\n".join([f"#line {block.line} {json.dumps(page)}",
                                    f"TEST_F({fixture}, {test}) {{",
                                    f"  run_shell({raw(block.text)});", "}", ""]))
        elif block.language == "text" and what:
            close()
            if not (match := re.fullmatch(r"output of (.+)", what)):
                raise PageError(f"line {block.line}: unknown `test: {what}`")
            tests.append("\n".join([f"#line {block.line} {json.dumps(page)}",
                                    f"TEST_F(Page, {test}) {{",
                                    f"  EXPECT_EQ(output_of({raw(match.group(1))}), "
                                    f"{raw(block.text)});", "}", ""]))
        elif block.language == "python":
            try:
                ast.parse(block.text)
            except SyntaxError as error:
                raise PageError(f"line {block.line}: this Python does not parse: {error}") from error
        elif what:
            raise PageError(f"line {block.line}: `test: {what}` before a block that is not tested")
    close()
    if not tests:
        return "// No block of the page is tested.\n"
    head = [f"// Made from {page} by tests/docs/extract_blocks.py.", '#include "docs/setups.h"', ""]
    # Blocks stand outside of any namespace, as in a program of the reader's.
    using = ["", "using namespace cairn::docs::fixtures;", ""]
    return "\n".join(head + sorted(includes) + using + tests)


def main():
    root, page, out = pathlib.Path(sys.argv[1]), sys.argv[2], pathlib.Path(sys.argv[3])
    try:
        out.write_text(generate(root, page))
    except PageError as error:
        sys.exit(f"{page}: {error}")


if __name__ == "__main__":
    main()
