"""Results of test/hosts/faults, kept in a file, and the tables in Markdown that docs/faults.md shows."""

import json


class Results:
    """Cells by release and libraries, number of hosts, fault and transport; a new measurement replaces the old one."""

    def __init__(self, path):
        self.path = path
        self.cells = {}
        if path and path.exists():
            self.cells = json.loads(path.read_text(encoding="utf-8"))

    def add(self, setting, fault, transport, cell):
        self.cells.setdefault(setting, {}).setdefault(fault, {})[transport] = cell
        if self.path:
            self.path.write_text(json.dumps(self.cells, indent=1) + "\n", encoding="utf-8")


def text_of(cell):
    words = f": {cell['words']}" if cell["words"] else ", nothing said"
    if cell["seen"] == "goes on":
        return "goes on, data right"
    if cell["seen"] == "hangs":
        return f"hangs (> {cell['seconds']:.0f} s){words}"
    if cell["seen"] == "ends":
        return f"ends after {cell['seconds']:.{0 if cell['seconds'] >= 10 else 1}f} s{words}"
    return cell["seen"] + words


def escaped(text):
    return text.replace("|", "\\|").replace("<", "\\<")


def markdown(results, faults, transports):
    """A table for each setting, with the faults in their order; a line each."""
    lines = []
    for setting, rows in results.cells.items():
        columns = [name for name in transports if any(name in cells for cells in rows.values())]
        lines += ["", f"## {setting}", "", "| fault | " + " | ".join(columns) + " |", "|---" * (len(columns) + 1) + "|"]
        for fault in faults:
            if fault in rows:
                cells = [escaped(text_of(rows[fault][name])) if name in rows[fault] else "-" for name in columns]
                lines.append(f"| {fault} | " + " | ".join(cells) + " |")
    return "\n".join(lines[1:])
