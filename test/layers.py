#!/usr/bin/env python3
"""test/layers.py   Checks the rooms of common/ against the table in docs/architecture.md: every #include, and that no headers
include each other in a circle. --self-test checks that each rule can fail."""
import argparse
import re
import sys
import tempfile
from pathlib import Path

TREE = Path(__file__).resolve().parent.parent
OWN_HEADER = {  # sources without a header of their own name: what they implement is declared in these
    "calls.cpp": "interface/transport.h",
    "transport.cpp": "interface/transport.h",
    "progress.cpp": "interface/transport.h",
    "options.cpp": "interface/options.h",
    "counters.cpp": "interface/counters.h",
    "statistics.cpp": "interface/statistics.h",
}
# Of Open MPI and PMIx; mtl_efa/ is the only folder that includes them.
FOREIGN = re.compile(r"^(mpi\.h|ompi|opal|orte|prte|pmix|mca/)")


def rooms_of(page):
    """{room: (what its headers may include, what its sources may)} from the table."""
    rooms = {}
    for name, headers, sources in re.findall(r"^\| `(\w+)` \| [^|]* \| ([\w, -]+) \| ([\w, -]+) \|$", page, re.M):
        names = [{word for word in column.split(", ") if word != "-"} for column in (headers, sources)]
        rooms[name] = (names[0] | {name}, names[0] | names[1] | {name})
    return rooms


def room_of(path):
    """The folder; "state" for state.hpp; "" for the other files in common/ itself."""
    if path == "state.hpp":
        return "state"
    return path.split("/")[0] if "/" in path else ""


def circle_in(includes):
    """A list of headers that include each other, or an empty one."""
    done, path = set(), []

    def visit(header):
        if header in path:
            return path[path.index(header):] + [header]
        if header in done:
            return []
        path.append(header)
        for other in includes.get(header, ()):
            if found := visit(other):
                return found
        path.pop()
        done.add(header)
        return []

    for header in sorted(includes):
        if found := visit(header):
            return found
    return []


def faults_of(common, rooms):
    faults, includes = [], {}
    for file in sorted(common.rglob("*")):
        if file.suffix not in (".h", ".hpp", ".cpp"):
            continue
        path = file.relative_to(common).as_posix()
        room = room_of(path)
        if room and room != "state" and room not in rooms:
            faults.append(f"{path}: no such room in docs/architecture.md")
            continue
        names = []
        for mark, name in re.findall(r'^\s*#\s*include\s*([<"])([^">]+)[">]', file.read_text(encoding="utf-8"), re.M):
            if FOREIGN.match(name):
                faults.append(f"{path} includes {name}, which only mtl_efa/ may")
            if mark == '"':
                beside = (file.parent / name).resolve()
                names.append(beside.relative_to(common).as_posix()
                             if beside.is_file() and not (common / name).is_file() else name)
        for name in names:
            if not (common / name).is_file():
                faults.append(f"{path} includes {name}, which is not in common/")
            elif room in rooms and room_of(name) not in rooms[room][file.suffix == ".cpp"]:
                faults.append(f"{path} includes {name}: {room} does not know {room_of(name) or 'the files in common/ itself'}")
        if file.suffix != ".cpp":
            includes[path] = names
        elif OWN_HEADER.get(path, path[:-4] + ".hpp") not in names:
            faults.append(f"{path} does not include its own header")
    if circle := circle_in(includes):
        faults.append("a circle: " + " -> ".join(circle))
    return faults


def self_test():
    rooms = rooms_of("| `base` | x | - | - |\n| `fabric` | x | base | state |\n")
    assert rooms == {"base": ({"base"}, {"base"}), "fabric": ({"base", "fabric"}, {"base", "fabric", "state"})}, rooms
    good = {"base/list.hpp": "", "fabric/rail.hpp": '#include "base/list.hpp"\n', "state.hpp": '#include "fabric/rail.hpp"\n',
            "fabric/rail.cpp": '#include "fabric/rail.hpp"\n#include <vector>\n#include "state.hpp"\n'}
    bad = {
        "fabric does not know": {"fabric/rail.hpp": '#include "state.hpp"\n'},
        "base does not know fabric": {"base/list.hpp": '#include "fabric/rail.hpp"\n'},
        "does not know the files in common/ itself": {"usage.hpp": "", "fabric/rail.hpp": '#include "usage.hpp"\n'},
        "a circle: base/list.hpp -> base/ring.hpp -> base/list.hpp":
            {"base/list.hpp": '#include "base/ring.hpp"\n', "base/ring.hpp": '#include "base/list.hpp"\n'},
        "does not include its own header": {"fabric/rail.cpp": '#include "base/list.hpp"\n'},
        "which is not in common/": {"fabric/rail.hpp": '#include "rail_table.hpp"\n'},
        "which only mtl_efa/ may": {"fabric/rail.cpp": '#include "fabric/rail.hpp"\n#include <ompi/mca/mtl/mtl.h>\n'},
        "no such room": {"attic/old.hpp": ""},
    }
    for expected, changes in ({None: {}} | bad).items():
        with tempfile.TemporaryDirectory() as folder:
            for path, text in (good | changes).items():
                (Path(folder) / path).parent.mkdir(parents=True, exist_ok=True)
                (Path(folder) / path).write_text(text, encoding="utf-8")
            found = faults_of(Path(folder), rooms)
        if expected is None:
            assert not found, found
        else:
            assert any(expected in fault for fault in found), (expected, found)
    print(f"self-test: {1 + len(bad)} passed")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--self-test", action="store_true")
    if parser.parse_args().self_test:
        self_test()
        return 0
    rooms = rooms_of((TREE / "docs/architecture.md").read_text(encoding="utf-8"))
    if len(rooms) < 2:
        sys.exit("test/layers.py: docs/architecture.md has no table of rooms")
    faults = faults_of(TREE / "common", rooms)
    for fault in faults:
        print(fault)
    print(f"{len(faults)} faults in {len(rooms)} rooms")
    return 1 if faults else 0


if __name__ == "__main__":
    sys.exit(main())
