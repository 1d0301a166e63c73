#!/usr/bin/env python3
"""What docs/STYLE.md promises and a script can count."""

import os
import re
import subprocess
import sys

ROOT = os.path.abspath(os.path.join(os.path.dirname(__file__), ".."))
LINES_MAX, FUNCTION_MAX, COLUMNS_MAX, COMMENT_COLUMNS_MAX, BASE_HEADERS_MAX = 400, 70, 100, 120, 6
# Spelled in pieces, so that this file does not find itself.
BANNED = re.compile(r"\bTO" r"DO\b|\bFIX" r"ME\b|\bXX" r"X\b|not implem" r"ented|-march=na" r"tive")
BAD_NAMES = re.compile(r"(Manager|Helper|Util|Handler|Impl|Common)s?$")
CODE = (".h", ".cc", ".inl")


def tracked():
    output = subprocess.run(["git", "-C", ROOT, "ls-files", "--cached", "--others", "--exclude-standard"], check=True,
                            capture_output=True, text=True).stdout
    return [f for f in output.splitlines() if os.path.isfile(os.path.join(ROOT, f))]


# What has no say in where braces open and close: comments, literals, preprocessor lines.
NOT_CODE = re.compile(r'//[^\n]*|/\*.*?\*/|R"(\w*)\(.*?\)\1"|"(?:\\.|[^"\\\n])*"|'
                      r"(?<!\w)'(?:\\.|[^'\\\n])+'|^[ \t]*#(?:[^\n]*\\\n)*[^\n]*", re.S | re.M)
SCOPE = re.compile(r"^(?:template\s*<.*>\s*)?(?:inline\s+|typedef\s+)?(namespace|class|struct|union|enum|extern)\b[^()=]*"
                   r"(?:ABSL_\w+(?:\([^()]*\))?[^()=]*|alignas\([^()]*\)[^()=]*)?$", re.S)


def long_functions(text):
    """(line, length) of the functions, signature included, that are too long. A function is a braced piece outside all
    others whose beginning has a parenthesis and declares neither a type nor data."""
    code = NOT_CODE.sub(lambda match: re.sub(r"[^\n]", " ", match.group(0)), text)
    scopes, begin, line, depth_in_function = [], 0, 1, 0
    for at, character in enumerate(code):
        if character == "\n":
            line += 1
        elif character == "{":
            before = code[begin:at]
            head = before.strip()
            head = re.sub(r"^(?:public|private|protected)\s*:\s*", "", head)
            function = not depth_in_function and "(" in head and not head.endswith("=") and not SCOPE.match(head)
            start = line - before.lstrip().count("\n") if function else 0
            scopes.append(start)
            depth_in_function += 1 if function or depth_in_function else 0
        elif character == "}" and scopes:
            start = scopes.pop()
            depth_in_function -= 1 if depth_in_function else 0
            if start and line - start + 1 > FUNCTION_MAX:
                yield start, line - start + 1
        if character in "{};":
            begin = at + 1


def check_code(path, text):
    lines = text.split("\n")
    if len(lines) - 1 > LINES_MAX:
        yield f"{path}: {len(lines) - 1} lines, limit {LINES_MAX}"
    for number, line in enumerate(lines, 1):
        limit = COMMENT_COLUMNS_MAX if line.lstrip().startswith("//") else COLUMNS_MAX
        if len(line) > limit and "http" not in line and 'R"' not in line and '#include' not in line:
            yield f"{path}:{number}: {len(line)} columns, limit {limit}"
    for start, length in long_functions(text):
        yield f"{path}:{start}: a function of {length} lines, limit {FUNCTION_MAX}"
    for name in re.findall(r"^\s*(?:class|struct)\s+(?:ABSL_\w+\s+)?(\w+)\b[^;]*$", text, re.M):
        if BAD_NAMES.search(name):
            yield f"{path}: the name {name} says nothing"
    if path.endswith(".h"):
        if not text.startswith("//"):
            yield f"{path}: a header begins with its purpose"
        if "#pragma once" not in text:
            yield f"{path}: no #pragma once"


def check(files, read):
    problems = []
    for path in files:
        if path.endswith(CODE) or path.endswith((".py", ".rs", ".cmake", ".sh", ".proto")):
            text = read(path)
            for match in BANNED.finditer(text):
                problems.append(f"{path}: says '{match.group(0)}'")
            if path.endswith(CODE):
                problems.extend(check_code(path, text))
        stem = "".join(part.capitalize() for part in os.path.basename(path).split(".")[0].split("_"))
        if BAD_NAMES.search(stem) and path.endswith(CODE):
            problems.append(f"{path}: the file's name says nothing")
    # Every folder at the top, and every folder of code; those below tests/ mirror the tree and need no words of their own.
    folders = {f.split("/")[0] for f in files if "/" in f and not f.startswith(".")}
    folders |= {os.path.dirname(f) for f in files if f.endswith(CODE) and not f.startswith("tests/")}
    problems += [f"{d}: no README.md" for d in sorted(folders) if d + "/README.md" not in files]
    headers = [f for f in files if re.match(r"base/[^/]+\.h$", f)]
    if len(headers) > BASE_HEADERS_MAX:
        problems.append(f"base: {len(headers)} headers, limit {BASE_HEADERS_MAX}")
    return problems


def finds_planted_violations():
    planted = {
        "a/b.h": "int x;\n",                                          # no purpose, no pragma, no README
        "c/README.md": "", "c/d.cc": "// TO" "DO\n",
        "c/e.cc": "\n" * 401, "c/f.cc": "int y = " + "1" * 100 + ";\n",
        "c/g.cc": "void F() {\n" + "  G();\n" * 70 + "}\n", "c/thing_manager.cc": "class ThingManager {\n};\n",
        # A signature of several lines, in a class, with braces that do not count.
        "c/h.cc": "namespace n {\nclass C : public B {\n  int F(int a,\n        int b) const {\n    // }\n    G('}', \"}\");\n"
                  + "    if (a) { G(); }\n" * 67 + "  }\n};\n}\n",
        # None: 70 lines; a long class, a long table.
        "c/i.cc": "void F() {\n" + "  G();\n" * 68 + "}\nclass C {\n" + "  int F() { return 1; }\n" * 80 + "};\n"
                  + "const int kX[] = {\n" + "  G(1),\n" * 80 + "};\n",
    }
    return len(check(list(planted), planted.get)) == 10


def read_file(path):
    with open(os.path.join(ROOT, path), encoding="utf-8") as file:
        return file.read()


if __name__ == "__main__":
    if not finds_planted_violations():
        sys.exit("style_test: planted violations were not found")
    found = check(tracked(), read_file)
    print("\n".join(found) or "style: no violation")
    sys.exit(1 if found else 0)
