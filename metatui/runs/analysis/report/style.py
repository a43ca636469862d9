"""How a report looks: in light and dark as the reader's system has it, on narrow screens, and in print."""

from __future__ import annotations

from metatui.runs.analysis.exports.svg_plot import COLOURS, GRID, INK

ON_DARK = ("#4aa8e0", "#ff8a3d", "#2fc79a", "#e39ac3", "#8fd0f5", "#f5b731", "#f2f2f2")
"""COLOURS as they are told apart on a dark page."""


def _recoloured() -> str:
    pairs = zip(COLOURS, ON_DARK, strict=True)
    return "".join(f'svg [stroke="{a}"]{{stroke:{b}}}svg [fill="{a}"]{{fill:{b}}}' for a, b in pairs)


STYLE = f"""
:root{{--page:#fff;--ink:#1f2328;--soft:#59636e;--line:#d8dee4;--note:#fff8e1;--edge:#d4a72c;--grid:{GRID}}}
*{{box-sizing:border-box}}
body{{margin:0 auto;max-width:66rem;padding:2rem 1.25rem;background:var(--page);color:var(--ink);
font:16px/1.5 system-ui,sans-serif;overflow-wrap:break-word}}
h1{{font-size:1.9rem;line-height:1.2;margin:0}}
h2{{font-size:1.3rem;margin:2.5rem 0 .75rem;padding-bottom:.25rem;border-bottom:1px solid var(--line)}}
header p,footer{{color:var(--soft)}}
nav a{{margin-right:1rem;color:inherit}}
aside{{margin:1.25rem 0;padding:.75rem 1rem;background:var(--note);border-left:4px solid var(--edge)}}
aside ul{{margin:.25rem 0 0}}
ul{{padding-left:1.25rem}}
.legend{{display:flex;flex-wrap:wrap;gap:.15rem 1.1rem;margin:.5rem 0;font-size:.875rem}}
.legend svg{{width:26px;height:12px}}
.pictures{{display:grid;grid-template-columns:repeat(auto-fit,minmax(min(26rem,100%),1fr));gap:1rem}}
figure{{margin:0;max-width:40rem}}
figure svg{{display:block;width:100%;height:auto;font-family:system-ui,sans-serif}}
svg [stroke="{INK}"]{{stroke:currentColor}}
svg [stroke="{GRID}"]{{stroke:var(--grid)}}
.wide{{overflow-x:auto;margin:1rem 0}}
table{{border-collapse:collapse;font-size:.875rem}}
caption{{text-align:left;white-space:nowrap;font-weight:600;padding:.25rem 0}}
th,td{{padding:.3rem .75rem .3rem 0;text-align:left;vertical-align:top;border-bottom:1px solid var(--line)}}
th{{color:var(--soft);font-weight:600}}
.number{{text-align:right;white-space:nowrap;font-variant-numeric:tabular-nums}}
footer{{margin-top:3rem;font-size:.875rem}}
@media screen and (prefers-color-scheme:dark){{
:root{{--page:#0f1216;--ink:#e6e9ec;--soft:#9aa4ae;--line:#2c333b;--note:#2b2410;--edge:#b58a1b;--grid:#2c333b}}
{_recoloured()}
}}
@media print{{
body{{max-width:none;padding:0;font-size:11pt}}
nav{{display:none}}
h2{{break-after:avoid}}
figure,tr,aside{{break-inside:avoid}}
.wide{{overflow:visible}}
}}
"""
