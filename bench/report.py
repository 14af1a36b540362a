"""The table (markdown) and the plots of what was measured."""

TITLES = {
    "warm": "One key, warm", "many": "Many keys, warm", "alternatives": "What a user would pick instead",
    "audit": "What the audit costs", "waits": "Ways to wait for requests (the null file system)", "waiting": "Beside opens that wait", "cold": "Cold reads and creations",
    "start": "Start", "memory": "A million known ids", "counts": "What a warm cat makes the daemon do",
    "calls": "Calls to KMS and store", "rotation": "Rotation over many hosts", "signing": "Signatures", "parts": "Parts",
}

# The same in all plots.
COLOURS = {"keyfs": "C0", "null": "C1", "tmpfs": "C2", "unix socket": "C3", "https (nginx)": "C4"}


def number(value):
    if value >= 1000:
        return f"{value:,.0f}"
    return f"{value:.3g}" if value < 100 else f"{value:.0f}"


def verdict(row):
    if row.get("limit_us"):
        return "reached" if row["value"]["median"] <= row["limit_us"] else "MISSED"
    if not row.get("limit"):
        return ""
    return ("reached" if row["ratio"]["median"] <= row["limit"] else "MISSED") + f" (at most {row['limit']:.3g}x)"


def line(row):
    """One row for the terminal."""
    kind = row["operation"]
    if kind == "memory":
        return (f"  memory, {row['what']}: {row['resident']:.0f} B resident (at most {row['resident_limit']}), "
                f"{row['locked']:.0f} B locked (at most {row['locked_limit']}) each; read cold at {row['fill_us']:.0f} us")
    if kind == "counts":
        return (f"  {row['server']} {row['thread']}: {row['allocations']:.3g} allocations, {row['locks']:.3g} mutex locks "
                f"({row['contended']:.3g} contended) for each cat")
    if kind == "system calls":
        calls = ", ".join(f"{name} {count:.3g}" for name, count in row["calls"].items() if count >= 0.01)
        return f"  {row['server']} {row['thread']}: {calls or 'none'} for each cat"
    if kind == "calls":
        text = ", ".join(f"{name} {count}" for name, count in row["calls"].items() if count)
        text = f"  {row['what']}: {row['reads']:,} reads in {row['seconds']:.0f} s: {text}"
        if "dollars" in row:
            text += f"; ${row['dollars']:.4f} on AWS, against ${row['dollars_uncached']:.2f} for a Decrypt each"
        else:
            text += f"; {row['checks_per_key_and_period']:.2f} checks of a key in each such time"
        return text
    if kind == "idle":
        asked = ", ".join(f"{name} {count}" for name, count in row["calls"].items() if count)
        return (f"  {row['what']}: {row['pulse']} looks at the pulse in {row['seconds']:.0f} s ({row['pulse'] / row['expected']:.0%} of "
                f"what is expected), {row['scans']} scans; {asked}")
    if kind == "fleet":
        return f"  {row['what']}: " + "; ".join(
            f"{fleet['hosts']:,} hosts {fleet['looks_per_second']:,.0f} looks a second, ${fleet['dollars']:,.2f} a month "
            f"(${fleet['dollars_all_run']:,.2f} if all may run rotations, {fleet['shards']} shards)" for fleet in row["rows"])
    if kind == "run":
        return (f"  {row['what']}: {row['end']} after {row['simulated_seconds']:.0f} s, {row['hooks']} hooks, at most {row['most_at_once']} at once; "
                f"{row['reads'] + row['lock_looks'] + row['pulse_looks']:,} reads, {row['writes']:,} writes, {row['lists']:,} lists of the board, "
                f"${row['dollars']:.4f}; {row['cpu_seconds']:.1f} s of CPU time for all hosts")
    if kind == "part":
        return f"  {row['what']}: {row['ns']:,.0f} ns"
    readers = f", {row['readers']} readers" if row.get("readers") else ""
    return (f"  {kind}, {row['what']}{readers if 'readers' not in row['what'] else ''}: {number(row['value']['median'])} us, "
            f"{row['baseline']} {number(row['baseline_value']['median'])} us: {row['ratio']['median']:.2f}x "
            f"[{row['ratio']['low']:.2f}-{row['ratio']['high']:.2f}] {verdict(row)}{notes(row)}")


def notes(row):
    found = []
    if "calls" in row and row["operation"] in ("cold_read", "stampede"):
        found.append(", ".join(f"{name} {count:.2f}".rstrip("0").rstrip(".") for name, count in row["calls"].items()))
    if "worst" in row:
        found.append(f"worst {row['worst'] / 1000:.1f} ms")
    if "cpu" in row:
        found.append(f"cpu {row['cpu']['value']['median']:.1f} us, {row['cpu']['ratio']['median']:.2f}x")
    if row.get("disturbed"):
        found.append(f"without {row['disturbed']} turns of which the hypervisor took more than 3 %")
    return f" ({'; '.join(found)})" if found else ""


def comparisons(rows):
    made = ["| operation | | readers | keyfs us | against | us | ratio (quartiles) | |", "|---|---|--:|--:|---|--:|--:|---|"]
    for row in rows:
        note = " ".join(filter(None, (verdict(row), notes(row).strip())))
        made.append(
            f"| {row['operation']} | {row['what']} | {row.get('readers', '')} | {number(row['value']['median'])} "
            f"| {row['baseline']} | {number(row['baseline_value']['median'])} "
            f"| **{row['ratio']['median']:.2f}** ({row['ratio']['low']:.2f}-{row['ratio']['high']:.2f}) | {note} |")
    return made


def markdown(results):
    machine = results["machine"]
    text = ["# keyfs: benchmarks", "",
            f"{machine['cpu']}, {machine['cores']} cores, {machine['memory_gib']} GiB; {machine['os']}, Linux "
            f"{machine['kernel']}, libfuse {machine['libfuse']}, libcurl {machine['libcurl']}; {machine['date']}; "
            f"load at the end {machine['load']:.1f}.", "",
            "Times are medians, of one operation by one reader; a ratio is the median over turns that followed each other "
            "(A B A B), with its quartiles. " + ("Quick: few and short turns." if results["quick"] else "")]
    for name, failure in results["failures"].items():
        text += ["", f"**{name} was not measured**: {failure}"]
    for group, title in TITLES.items():
        rows = [row for row in results["rows"] if row["group"] == group]
        if not rows:
            continue
        text += ["", f"## {title}"]
        compared = [row for row in rows if "ratio" in row]
        if compared:
            text += comparisons(compared)
        others = [row for row in rows if "ratio" not in row]
        if others and group == "parts":
            text += ["| part | ns |", "|---|--:|"] + [f"| {row['what']} | {row['ns']:,.0f} |" for row in others]
        elif others:
            text += [f"- {line(row).strip()}" for row in others]
    return "\n".join(text) + "\n"


def plots(results, out):
    try:
        import matplotlib
    except ImportError:
        print("no plots: there is no matplotlib")
        return
    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    rows = [row for row in results["rows"] if "quantiles" in row]
    if not rows:
        return
    plt.rcParams.update({"font.size": 8, "axes.spines.top": False, "axes.spines.right": False, "figure.dpi": 110})
    figure, axes = plt.subplots(1, 3, figsize=(11, 3.3))
    latency(axes[0], rows)
    by_readers(axes[1], rows)
    by_keys(axes[2], rows)
    figure.tight_layout()
    figure.savefig(out / "plots.png")
    print(f"written: {out}/plots.png")


def latency(axis, rows):
    axis.set(title="warm_cat, 1 key, 4 readers: latency", xlabel="us", ylabel="share of reads slower", xscale="log",
             yscale="log", ylim=(5e-5, 1.2))
    seen = set()
    for row in rows:
        if row["operation"] != "warm_cat" or row.get("readers") != 4 or row["group"] not in ("warm", "alternatives"):
            continue
        for name, points in row["quantiles"].items():
            if name in seen:
                continue
            seen.add(name)
            points = [(value, 1 - share) for share, value in points if share < 1]
            axis.plot([value for value, _ in points], [rest for _, rest in points], label=name,
                      color=COLOURS.get(name))
    axis.legend(frameon=False)


def by_readers(axis, rows):
    axis.set(title="warm_cat, 1 key: cost by readers", xlabel="readers", ylabel="us for each read of a reader", xscale="log",
             yscale="log")
    series = {}
    for row in rows:
        if row["operation"] != "warm_cat" or row["group"] not in ("warm", "alternatives"):
            continue
        if row["group"] == "warm":
            series.setdefault("keyfs", []).append((row["readers"], row["value"]))
        series.setdefault(row["baseline"], []).append((row["readers"], row["baseline_value"]))
    draw(axis, series)
    ticks = sorted({readers for points in series.values() for readers, _ in points})
    axis.set_xticks(ticks, [str(tick) for tick in ticks])
    axis.minorticks_off()


def by_keys(axis, rows):
    axis.set(title="against the null file system, by keys", xlabel="keys read or known", ylabel="ratio", xscale="log")
    series = {}
    for row in rows:
        if row["group"] == "waits" or row["baseline"] != "null" or row["readers"] != 4:
            continue
        if row["operation"] not in ("warm_cat", "warm_read", "stat"):
            continue
        keys = int(row["what"].split()[0].replace(",", ""))
        series.setdefault(row["operation"], []).append((keys, row["ratio"]))
    draw(axis, series)
    axis.axhline(1.1, color="grey", linewidth=0.7, linestyle=":")
    axis.set_ylim(bottom=0)


def draw(axis, series):
    for name, points in series.items():
        points.sort(key=lambda point: point[0])
        middle = [spread["median"] for _, spread in points]
        axis.errorbar([x for x, _ in points], middle,
                      yerr=[[max(0, m - spread["low"]) for m, (_, spread) in zip(middle, points)],
                            [max(0, spread["high"] - m) for m, (_, spread) in zip(middle, points)]],
                      marker="o", markersize=3, capsize=2, label=name, color=COLOURS.get(name))
    axis.legend(frameon=False)
