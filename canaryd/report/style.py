"""The report's looks. Stable and canary are told apart by dashes as well as by colour."""

STYLE = """
:root { --page: #fcfcfb; --ink: #1b1b19; --quiet: #5f5e58; --rule: #dcdad3; --faint: #efede8; --stable: #2466b5;
  --canary: #c2410c; --good: #18794e; --bad: #b42318; --open: #8a6100; --proof: #18794e; --band: .16; }
@media (prefers-color-scheme: dark) {
  :root { --page: #171716; --ink: #eceae4; --quiet: #a5a39b; --rule: #3b3a37; --faint: #242422; --stable: #7db2f0;
    --canary: #f5935a; --good: #5cc595; --bad: #f58b80; --open: #e0b34d; --proof: #5cc595;
    --band: .26; }
}
* { box-sizing: border-box; }
body { margin: 0; background: var(--page); color: var(--ink); font: 15px/1.5 system-ui, "DejaVu Sans", sans-serif; }
main { max-width: 1060px; margin: 0 auto; padding: 28px 20px 60px; }
header { border-left: 5px solid var(--open); padding: 2px 0 2px 16px; margin-bottom: 24px; }
header.good { border-color: var(--good); } header.bad { border-color: var(--bad); }
h1 { font-size: 26px; line-height: 1.25; margin: 0 0 6px; overflow-wrap: anywhere; }
.good .sign { color: var(--good); } .bad .sign { color: var(--bad); } .open .sign { color: var(--open); }
h2 { font-size: 19px; margin: 40px 0 8px; padding-top: 12px; border-top: 1px solid var(--rule); }
h3 { font-size: 15px; margin: 18px 0 2px; }
.verdict { font-size: 18px; margin: 0 0 6px; overflow-wrap: anywhere; }
.reason { margin: 0; color: var(--quiet); overflow-wrap: anywhere; }
p.words { margin: 2px 0; overflow-wrap: anywhere; }
a { color: var(--stable); overflow-wrap: anywhere; } ul { margin: 6px 0; padding-left: 20px; } li { margin: 3px 0; }
.quiet { color: var(--quiet); margin: 4px 0; }
dl { display: grid; grid-template-columns: max-content 1fr; gap: 3px 18px; margin: 0; }
dt { color: var(--quiet); } dd { margin: 0; overflow-wrap: anywhere; }
.plot { display: block; width: 100%; height: auto; }
.plot.narrow { display: none; }
.key { display: flex; flex-wrap: wrap; gap: 4px 20px; margin: 4px 0; }
.key svg { vertical-align: middle; }
.line { fill: none; stroke-width: 2; stroke-linejoin: round; stroke-linecap: round; }
.line.stable { stroke: var(--stable); stroke-dasharray: 6 3; } .line.canary { stroke: var(--canary); }
.line.harm { stroke: var(--bad); } .line.proof { stroke: var(--proof); }
.dot.stable, .bar.stable { fill: var(--stable); } .dot.canary, .bar.canary { fill: var(--canary); }
.dot.harm { fill: var(--bad); } .dot.proof { fill: var(--proof); }
.dot.observed { fill: var(--ink); stroke: var(--page); }
.whisker { stroke: var(--ink); stroke-width: 1.5; opacity: .6; }
.band { opacity: var(--band); } .band.stable { fill: var(--stable); } .band.canary { fill: var(--canary); }
.area { fill: var(--canary); opacity: .13; }
.gap { fill: var(--quiet); opacity: .28; }
.grid { stroke: var(--rule); } .axis { stroke: var(--quiet); }
.bound { stroke: var(--ink); stroke-dasharray: 2 4; }
.retreat { stroke: var(--bad); stroke-width: 1.5; stroke-dasharray: 4 3; }
.label { font-size: 12px; fill: var(--quiet); } .small { font-size: 11px; }
.end { text-anchor: end; } .middle { text-anchor: middle; }
table { border-collapse: collapse; width: 100%; font-size: 14px; }
tbody { border-bottom: 1px solid var(--rule); } thead { border-bottom: 1px solid var(--quiet); }
th { text-align: left; font-weight: 600; color: var(--quiet); vertical-align: bottom; }
th, td { padding: 6px 14px 6px 0; }
td { vertical-align: top; font-variant-numeric: tabular-nums; overflow-wrap: anywhere; }
.words td { padding-top: 0; color: var(--quiet); }
.narrow td[data-label="UTC"], .narrow td[data-label="after"], .narrow td[data-label="canary"] { white-space: nowrap; }
summary { cursor: pointer; color: var(--quiet); overflow-wrap: anywhere; }
details { margin: 4px 0 8px; }
pre { background: var(--faint); padding: 14px; overflow-x: auto; font-size: 13px; line-height: 1.45; }
@media (max-width: 640px) {
  main { padding: 18px 14px 40px; }
  h1 { font-size: 22px; }
  dl { grid-template-columns: 1fr; gap: 0; } dd { margin-bottom: 8px; }
  table.wide thead { position: absolute; width: 1px; height: 1px; overflow: hidden; clip-path: inset(50%); }
  table.wide, .wide tbody, .wide tr, .wide td { display: block; } .wide tbody { padding: 8px 0; }
  .wide td { padding: 1px 0; } .wide td[data-label]::before { content: attr(data-label) ": "; color: var(--quiet); }
  table.narrow th, .narrow td { padding: 4px 7px 4px 0; font-size: 13px; }
  .plot.wide { display: none; } .plot.narrow { display: block; }
}
@media (max-width: 360px) { .narrow th:nth-child(2), .narrow td:nth-child(2) { display: none; } }
"""
