"""The results of bench/compare as text, as plots (SVG, by matplotlib) and as one HTML file."""
import html as escape
import io
import os
from statistics import median

OURS = "mtl/efa"
COLOURS = {"mtl/efa": "#d1495b", "packets": "#9b2226", "mtl/ofi": "#00798c", "ob1": "#edae49", "ucx": "#66a182", "mpich": "#8d6a9f",
           "raw libfabric": "#2e4057"}


def size_text(size):
    for unit, name in ((1 << 20, "MiB"), (1 << 10, "KiB")):
        if size >= unit and size % unit == 0:
            return f"{size // unit} {name}"
    return f"{size} B"


def number(value):
    return f"{value:.2f}" if value < 100 else f"{value:,.0f}"


def typical(measured, samples):
    """The median round or, with --best, the best: load from other processes only slows a run down."""
    if measured.get("best"):
        return max(samples) if measured["more_is_better"] else min(samples)
    return median(samples)


def rounds(measured):
    """How the figures were obtained: "median of 5"."""
    counts = {len(values) for samples in measured["samples"].values() for values in samples.values()} or {0}
    return ("best" if measured.get("best") else "median") + f" of {max(counts)}"


def ratio(measured, other, size):
    """How much better mtl/efa is than `other` at this size: its time / our time, or our rate / its rate; None if unknown."""
    ours, theirs = (measured["samples"].get(name, {}).get(size) for name in (OURS, other))
    if not ours or not theirs:
        return None
    a, b = typical(measured, ours), typical(measured, theirs)
    if not a or not b:
        return None
    return a / b if measured["more_is_better"] else b / a


def sizes_of(measured):
    return sorted({size for samples in measured["samples"].values() for size in samples})


def text(result):
    for m in result["measured"]:
        names = [name for name, samples in m["samples"].items() if samples]
        others = [name for name in names if name != OURS]
        print(f"\n{m['title']}, {m['lane_title']} ({m['unit']}; {rounds(m)}"
              + (", and how many times better mtl/efa is)" if OURS in names and others else ")"))
        ratios = [f"vs {name}" for name in others] if OURS in names else []
        print(f"{'size':>10} " + " ".join(f"{name:>14}" for name in names + ratios))
        for size in sizes_of(m):
            cells = [number(typical(m, m["samples"][n][size])) if size in m["samples"][n] else "-" for n in names]
            if OURS in names:
                found = [ratio(m, other, size) for other in others]
                cells += [f"{r:.2f}" if r else "-" for r in found]
            print(f"{size_text(size):>10} " + " ".join(f"{cell:>14}" for cell in cells))
        for name in m["failed"]:
            print(f"           {name} failed")


def plots(measured):
    """(name, SVG) of the values, and of the ratios."""
    import matplotlib
    matplotlib.use("svg")
    matplotlib.rcParams.update({"svg.fonttype": "none", "svg.hashsalt": "mtl_efa", "font.size": 9,
                                "axes.spines.top": False, "axes.spines.right": False})
    from matplotlib import pyplot

    sizes = [size for size in sizes_of(measured) if size > 0]
    if len(sizes) < 2:
        return
    ticks = sizes[::-(-len(sizes) // 8)]

    def drawn(name, title, label, lines, logarithmic, base=None):
        figure, axes = pyplot.subplots(figsize=(6.4, 3.4), layout="constrained")
        for who, xs, ys, low, high in lines:
            axes.plot(xs, ys, marker="o", markersize=3, linewidth=2 if who == OURS else 1.2, color=COLOURS.get(who), label=who)
            if low:
                axes.fill_between(xs, low, high, color=COLOURS.get(who), alpha=0.15, linewidth=0)
        if base:
            axes.axhline(base, color="#888888", linewidth=0.8)
        axes.set_xscale("log", base=2)
        if logarithmic:
            axes.set_yscale("log")
        else:
            axes.set_ylim(bottom=0)
        axes.set_xticks(ticks, [size_text(size) for size in ticks])
        axes.minorticks_off()
        axes.set_title(title, loc="left", fontsize=10)
        axes.set_ylabel(label)
        axes.grid(True, color="#e4e4e4", linewidth=0.6)
        axes.legend(frameon=False, fontsize=8)
        out = io.StringIO()
        figure.savefig(out, format="svg", metadata={"Date": None})
        pyplot.close(figure)
        return name, out.getvalue()

    name = f"{measured['lane']}-{measured['benchmark']}"
    lines = []
    for who, samples in measured["samples"].items():
        xs = [size for size in sizes if size in samples]
        if xs:
            lines.append((who, xs, [typical(measured, samples[x]) for x in xs], [min(samples[x]) for x in xs],
                          [max(samples[x]) for x in xs]))
    heading = f"{measured['title']}: {measured['lane_title']}"
    yield drawn(name, heading, measured["unit"], lines, measured["unit"] not in ("%", "MiB"))
    lines = []
    for who in measured["samples"]:
        xs = [size for size in sizes if who != OURS and ratio(measured, who, size)]
        if xs:
            lines.append((who, xs, [ratio(measured, who, x) for x in xs], None, None))
    if lines:
        yield drawn(name + "-ratio", "mtl/efa against each: above 1 it is better", "times better", lines, False, 1)


def svg(result, directory):
    os.makedirs(directory, exist_ok=True)
    for measured in result["measured"]:
        for name, picture in plots(measured):
            with open(os.path.join(directory, name + ".svg"), "w") as out:
                out.write(picture)


def table(m):
    names = [name for name, samples in m["samples"].items() if samples]
    head = "".join(f"<th>{escape.escape(name)}</th>" for name in names)
    head += "".join(f"<th>vs {escape.escape(name)}</th>" for name in names if name != OURS and OURS in names)
    rows = []
    for size in sizes_of(m):
        cells = []
        for name in names:
            samples = m["samples"][name].get(size)
            cells.append(f"<td>{number(typical(m, samples))} <small>{number(min(samples))}-{number(max(samples))}</small></td>"
                         if samples else "<td>-</td>")
        for name in names:
            if name != OURS and OURS in names:
                r = ratio(m, name, size)
                cells.append(f"<td class={'good' if r and r >= 1 else 'bad'}>{r:.2f}</td>" if r else "<td>-</td>")
        rows.append(f"<tr><th>{size_text(size)}</th>{''.join(cells)}</tr>")
    failed = "".join(f"<p class=bad>{escape.escape(name)} failed</p>" for name in m["failed"])
    return f"<table><tr><th>size</th>{head}</tr>{''.join(rows)}</table>{failed}"


STYLE = """body{font:14px/1.45 system-ui,sans-serif;max-width:1100px;margin:2em auto;padding:0 1em;color:#222}
table{border-collapse:collapse;font-variant-numeric:tabular-nums;margin:1em 0}td,th{padding:.15em .7em;text-align:right;
border-bottom:1px solid #eee}small{color:#888}.good{color:#1d7a46}.bad{color:#b3261e}.plots{display:flex;flex-wrap:wrap}
.plots svg{width:530px;height:auto}code{background:#f3f3f3;padding:.1em .3em}summary{cursor:pointer;color:#555}"""


def html(result, path):
    parts = []
    for m in result["measured"]:
        pictures = "".join(picture[picture.index("<svg"):] for _, picture in plots(m))
        parts.append(f"<h2>{escape.escape(m['title'])}: {escape.escape(m['lane_title'])}</h2><div class=plots>{pictures}</div>"
                     f"<details open><summary>{escape.escape(m['unit'])}: {rounds(m)} rounds, least and greatest; "
                     f"\"vs\": how many times better mtl/efa is</summary>{table(m)}</details>")
    facts = "".join(f"<tr><th>{escape.escape(k)}</th><td>{escape.escape(str(v))}</td></tr>" for k, v in result["machine"].items())
    with open(path, "w") as out:
        out.write(f"<!doctype html><meta charset=utf-8><title>mtl_efa compared</title><style>{STYLE}</style>"
                  f"<h1>mtl_efa compared</h1><p>Made {result['made']} by <code>{escape.escape(' '.join(result['command']))}</code>. "
                  "The transports ran in turn, so their ratios are fair; absolute times are this machine's. Times over the "
                  "software EFA device say nothing about the timing of real hardware.</p>"
                  f"<table>{facts}</table>{''.join(parts)}")
