# ruff: noqa: E501 - a style sheet
"""Style sheet of the report page, for light and dark schemes, large and small screens."""

from __future__ import annotations

__all__ = ["STYLE"]

STYLE = """
:root{--ink:#1c2430;--soft:#5b6675;--line:#e3e7ec;--ground:#f6f7f9;--card:#fff;--head:#eef1f4;
--c0:#2f6db5;--c1:#d9822b;--c2:#3b9c74;--c3:#b04a8b;--c4:#8a7a2e;--c5:#6a5fc4;--c6:#3aa0b8;--c7:#9aa3ad}
@media(prefers-color-scheme:dark){:root{--ink:#e6e9ee;--soft:#9aa5b4;--line:#2c343f;--ground:#12161b;--card:#1a2028;--head:#222a34;
--c0:#6ea8ea;--c1:#f0a860;--c2:#6cc7a0;--c3:#db86bd;--c4:#cbb960;--c5:#a39af0;--c6:#6fcadf;--c7:#79838f}}
*{box-sizing:border-box}
body{margin:0;background:var(--ground);color:var(--ink);font:15px/1.5 system-ui,-apple-system,"Segoe UI",Roboto,sans-serif}
main{max-width:1240px;margin:0 auto;padding:24px 16px 40px}
h1{font-size:24px;margin:0}h2{font-size:16px;margin:0 0 4px}
header p,section>p,footer{color:var(--soft);margin:0;font-size:13px}
section{background:var(--card);border:1px solid var(--line);border-radius:10px;padding:16px;margin-top:16px;min-width:0}
.notes{margin:12px 0 0;padding-left:18px;color:var(--soft);font-size:13px}
.tiles{list-style:none;margin:16px 0 0;padding:0;display:grid;gap:12px;grid-template-columns:repeat(auto-fit,minmax(150px,1fr))}
.tiles li{background:var(--card);border:1px solid var(--line);border-radius:10px;padding:12px 14px;display:flex;flex-direction:column}
.tiles b{font-size:22px;line-height:1.25;font-variant-numeric:tabular-nums}.tiles span{font-size:13px}.tiles small{color:var(--soft)}
.pair{display:grid;gap:0 16px;grid-template-columns:repeat(auto-fit,minmax(min(100%,340px),1fr))}
.chart{margin:12px 0 0;display:grid;grid-template:190px 22px/auto 1fr;gap:0 8px}
.chart svg{width:100%;height:100%;overflow:visible}
.chart line{stroke:var(--line);stroke-width:1;vector-effect:non-scaling-stroke}
.y{display:flex;flex-direction:column;justify-content:space-between;text-align:right;font-size:11px;color:var(--soft);line-height:1;margin:-5px 0}
.x{grid-column:2;position:relative;font-size:11px;color:var(--soft)}
.x span{position:absolute;top:6px;transform:translateX(-50%);white-space:nowrap}
.keys{list-style:none;margin:8px 0 0;padding:0;display:flex;flex-wrap:wrap;gap:4px 16px;font-size:13px}
.keys i{display:inline-block;width:10px;height:10px;border-radius:3px;margin-right:6px}
.wide{overflow-x:auto;margin:10px -16px -16px;border-radius:0 0 10px 10px}
table{border-collapse:collapse;width:100%;font-size:13px;font-variant-numeric:tabular-nums}
th,td{padding:7px 6px;text-align:left;white-space:nowrap;border-top:1px solid var(--line)}
th{font-weight:600;color:var(--soft);background:var(--head)}
th:first-child,td:first-child{padding-left:16px;position:sticky;left:0;background:var(--card);max-width:220px;overflow:hidden;text-overflow:ellipsis}
th:first-child{background:var(--head)}
th:last-child,td:last-child{padding-right:16px}
.n{text-align:right}tfoot td{font-weight:600}.more td{color:var(--soft)}
code{font:12px ui-monospace,SFMono-Regular,Menlo,Consolas,monospace}
footer{margin-top:20px}
@media(max-width:520px){main{padding:16px 10px 32px}.tiles{grid-template-columns:1fr 1fr;gap:10px}.chart{grid-template-rows:150px 22px}
.time .x span:nth-child(even){display:none}th:first-child,td:first-child{max-width:130px}}
@media print{body{background:#fff}section,.tiles li{break-inside:avoid}}
""" + "".join(f"rect.c{n}{{fill:var(--c{n})}}i.c{n}{{background:var(--c{n})}}" for n in range(8))
