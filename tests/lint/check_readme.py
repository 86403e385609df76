#!/usr/bin/env python3
"""The README shows examples/quickstart.cc as it stands, and begins with the two commands."""
import pathlib
import sys

root = pathlib.Path(sys.argv[1])
readme = (root / "README.md").read_text()
problems = []
if f"```cpp\n{(root / 'examples/quickstart.cc').read_text()}```" not in readme:
    problems.append("README.md does not show examples/quickstart.cc as it stands")
first_block = readme.split("```sh\n", 1)[1].split("```", 1)[0]
for command in ("./dev demo", "./dev test"):
    if not any(line.split("#")[0].strip() == command for line in first_block.splitlines()):
        problems.append(f"the first block of README.md does not have the command {command}")
print("\n".join(problems) or "README.md is in step")
sys.exit(bool(problems))
